"""Prints messages for the user where Keras's own callbacks print."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

_said: set[str] = set()
_muted = threading.local()


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Print no message on this thread: another process of the run prints the same."""
    _muted.on = True
    try:
        yield
    finally:
        _muted.on = False


def show(text: str) -> None:
    """Print a message of kept for the user."""
    if not getattr(_muted, "on", False):
        print_text(f"kept: {text}")


def show_once(text: str) -> None:
    """Print a message, unless this process has printed it already."""
    if text not in _said:
        _said.add(text)
        show(text)


def print_text(text: str) -> None:
    """Print a text, or log it if the user has set Keras to log, or if stdout cannot be written.

    The line is one write, so no other thread prints into it. On a thread in the background it
    starts a new one, because the progress bar of a fit may have left its line open. A message never
    raises, because no checkpoint and no step may fail for one.
    """
    if not (_is_interactive() and _is_written(text)):
        import logging

        logging.getLogger("kept").info("%s", text.strip())


def _is_written(text: str) -> bool:
    """Write a line to stdout; return False if that fails: it is full, closed, or missing.

    What the encoding of stdout lacks is written as an escape.
    """
    is_beside = threading.current_thread() is not threading.main_thread()
    start = "\n" if is_beside and not text.startswith("\n") else ""
    line = f"{start}{text}\n"
    try:
        try:
            sys.stdout.write(line)
        except UnicodeEncodeError as error:
            sys.stdout.write(line.encode(error.encoding, "backslashreplace").decode(error.encoding))
        sys.stdout.flush()
    except Exception:  # noqa: BLE001 - stdout is an object of any kind: a notebook's, a test's
        return False
    return True


def harmless(stream: TextIO) -> TextIO:
    """Return a stream, such as stderr, with writes that never fail: what it cannot take is lost.

    For what is shown beside the work, because no work may fail for it.
    """
    return cast("TextIO", _Harmless(stream))


class _Harmless:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed or None
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_interactive() -> bool:
    """Return whether Keras prints; a package that is not loaded has no say."""
    config = getattr(sys.modules.get("keras"), "config", None)  # missing while it is imported
    utils = getattr(sys.modules.get("tf_keras"), "utils", None)
    asked = [each for each in (config, utils) if each is not None]
    return all(each.is_interactive_logging_enabled() for each in asked)
