"""Messages of kept between what a fit prints."""

import errno
import io
import sys
import threading

import pytest

from kept.messages import show


class Shared(io.StringIO):
    """Notes each write; another thread may print between two of them."""

    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, text):
        self.writes.append(text)
        return super().write(text)


def shared(monkeypatch):
    """Replace the output; in the test itself, because pytest replaces it after the fixtures."""
    found = Shared()
    monkeypatch.setattr(sys, "stdout", found)
    return found


def test_a_message_is_one_write(monkeypatch):
    out = shared(monkeypatch)
    show("hello")
    assert out.writes == ["kept: hello\n"]


def test_a_message_from_beside_does_not_end_the_line_of_a_progress_bar(monkeypatch):
    out = shared(monkeypatch)
    out.write("3/4 loss: 0.5")
    beside = threading.Thread(target=show, args=("hello",))
    beside.start()
    beside.join()
    assert out.getvalue() == "3/4 loss: 0.5\nkept: hello\n"


def test_what_the_encoding_of_stdout_lacks_is_escaped(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    show("Prüfung")
    out.seek(0)
    assert out.read() == "kept: Pr\\xfcfung\n"


class Full(io.StringIO):
    """A stdout on a disk that is full."""

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("kind", ["full", "closed", "missing"])
def test_a_message_that_cannot_be_printed_is_logged(monkeypatch, caplog, kind):
    out = {"full": Full(), "closed": io.StringIO(), "missing": None}[kind]
    if kind == "closed":
        out.close()
    monkeypatch.setattr(sys, "stdout", out)
    with caplog.at_level("INFO", "kept"):
        show("hello")
    assert caplog.messages == ["kept: hello"]
