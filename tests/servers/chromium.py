"""A real Chromium for tests."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the Chromium of $KEPT_CHROMIUM, or the installed one."""
    program = os.environ.get("KEPT_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    assert program, "no Chromium: run tests/web/install_chromium.sh, or set KEPT_CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
