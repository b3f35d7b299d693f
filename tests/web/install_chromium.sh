#!/bin/sh
# Installs the browser that the tests of the page drive, if it is missing and this is Debian.
set -eu
for name in chromium chromium-browser google-chrome; do
    command -v "$name" > /dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium > /dev/null
else
    echo "No Chromium is installed. The tests of the page fail without it; on Debian: apt-get install chromium" >&2
fi
