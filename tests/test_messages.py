"""Messages of kept between what a fit prints."""

import io
import sys
import threading

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
