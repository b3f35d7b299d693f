"""The progress bar: late, on stderr, on a terminal only."""

from __future__ import annotations

import contextlib
import errno
import io
import re
import time
import types

import pytest

from kept import progress as module


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stderr(monkeypatch):
    terminal = Terminal()
    # Not sys.stderr itself: pytest sets that again between the fixtures and the test.
    monkeypatch.setattr(module, "sys", types.SimpleNamespace(stderr=terminal))
    monkeypatch.setenv("TERM", "xterm")
    return terminal


def work(seconds: float, unit: str = "bytes") -> None:
    with module.progress("Getting [b]x", unit) as done:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done(500_000, 1_000_000)
            time.sleep(0.01)


def test_quick_work_shows_none(stderr):
    work(0.05)
    assert stderr.getvalue() == ""


@pytest.mark.parametrize(
    ("unit", "amount"), [("bytes", "0.5/1.0 MB"), ("versions", "500000/1000000")]
)
def test_long_work_shows_how_much_is_done(stderr, monkeypatch, unit, amount):
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    work(0.8, unit)
    assert "Getting [b]x" in stderr.getvalue()
    assert amount in re.sub(r"\x1b\[[0-9;]*m", "", stderr.getvalue())


def test_work_without_amounts_shows_that_it_continues(stderr, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    with module.progress("Storing x"):
        time.sleep(0.6)
    assert "Storing x" in stderr.getvalue()


@pytest.mark.parametrize("width", [40, 50, 60, 68, 80, 120])
@pytest.mark.parametrize("unit", ["bytes", "versions", None])
def test_a_bar_is_one_line_of_a_narrow_terminal(stderr, monkeypatch, unit, width):
    monkeypatch.setattr(module, "_PATIENCE", 0)
    monkeypatch.setenv("COLUMNS", str(width))
    with module.progress("Copying a-long-name to s3://bucket/and/prefix", unit) as done:
        while not module._bars:
            time.sleep(0.01)
        whole = 999_900_000 if unit == "bytes" else 99_999
        for part in range(5):
            done(part * whole // 5, whole)
        module._bars[0]._shown[0].refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stderr.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert all(line.startswith("Copy") and len(line) <= width for line in lines)
    assert any("━" in line for line in lines)


def test_in_a_pipe_there_is_none(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    pipe = io.StringIO()
    monkeypatch.setattr(module, "sys", types.SimpleNamespace(stderr=pipe))
    work(0.3)
    assert pipe.getvalue() == ""


class Full(Terminal):
    """A stderr on a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_stderr_fails_no_work(monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0)
    monkeypatch.setattr(module, "sys", types.SimpleNamespace(stderr=Full()))
    monkeypatch.setenv("TERM", "xterm")
    module._Lines("x", "bytes").update(1, 2)
    bar = module._Bar("x", "bytes")
    bar.show()
    bar.update(1, 2)
    bar._shown[0].refresh()
    bar.end()


def test_the_bar_ends_when_the_work_fails(stderr, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    with contextlib.suppress(ValueError), module.progress("x"):
        time.sleep(0.6)
        raise ValueError
    shown = stderr.getvalue()
    time.sleep(0.3)
    assert stderr.getvalue() == shown
