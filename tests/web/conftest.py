"""A server of the page for each test, and a real Chromium for all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

import kept
from tests.servers.chromium import chromium

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab; the test fails if the page breaks its policy, or a script fails."""
    context = browser.new_context(viewport=WIDE)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: message.type == "error" and problems.append(message.text))
    yield tab
    context.close()
    unexpected = [text for text in problems if "Failed to load resource" not in text]
    assert unexpected == []


class Server:
    """A process of kept ui."""

    def __init__(self, store: object, *options: str, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "kept", "--store", str(store), "ui", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, text=True, env=os.environ | (env or {})
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert " is at http" in line, line
        self.address = line.partition(" is at ")[2].split()[0]

    def stop(self) -> int:
        """End the server as Ctrl-C does; return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers of the page, which end with the test: serve(store, "--read-only")."""
    started: list[Server] = []

    def start(store: object, *options: str, **more: dict[str, str]) -> Server:
        started.append(Server(store, *options, **more))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong with a page, in one line each."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:200]}" for v in found]


def make_series(store: kept.Store, name: str, count: int) -> None:
    """Log count versions as a fit would, with metrics; versions differ in their first bytes."""
    for number in range(count):
        loss = 0.8 / (number + 1) + 0.1
        metadata = {"epoch": number + 1, "monitor": "val_loss", "mode": "min", "value": loss,
                    "metrics": {"val_loss": loss, "accuracy": 1 - loss / 2}}  # fmt: skip
        content = kept.MemoryFile("model.bin", [b"%08d" % number, bytes(200_000)])
        store.log_artifact(name, content, aliases=[f"epoch_{number + 1}"], metadata=metadata,
                           capture=False)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> kept.Store:
    """A store with two artifacts."""
    made = kept.open_store(tmp_path / "store")
    make_series(made, "digits", 12)
    make_series(made, "other", 2)
    made.set_alias("digits:v11", "prod")
    return made
