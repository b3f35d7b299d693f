"""The machine is taken away: one last save at the end of the batch, then the process ends.

Schedulers send SIGTERM and, some seconds later, SIGKILL. The handler only takes a note, since it
may run in the middle of anything; the callback looks at the note when a batch has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_OF_A_FIT = {"epoch_iterator", "data_handler"}  # local names in the fit of Keras 3, of tf_keras
EXIT_CODE = 128 + signal.SIGTERM


class Preemption:
    """Listens for SIGTERM while a fit runs in the main thread."""

    def __init__(self, grace_seconds: float | None) -> None:
        """grace_seconds is the time from SIGTERM to SIGKILL; None leaves SIGTERM alone."""
        self._grace = grace_seconds
        self._deadline: float | None = None
        self._listens = False

    @property
    def is_due(self) -> bool:
        """Whether SIGTERM has come."""
        return self._deadline is not None

    @property
    def seconds_left(self) -> float:
        """How long the process may still take, at least 0."""
        return max(0.0, (self._deadline or 0.0) - time.monotonic())

    def listen(self) -> None:
        """Take SIGTERM over, unless somebody else has or this is not the main thread."""
        if self._grace is None or threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGTERM)
        left_behind = isinstance(getattr(handler, "__self__", None), Preemption)  # by a broken fit
        if handler is signal.SIG_DFL or left_behind:
            signal.signal(signal.SIGTERM, self._note)
            self._listens = True

    def stop(self) -> None:
        """Give SIGTERM back; if it has come meanwhile, follow it."""
        if self._listens and threading.current_thread() is threading.main_thread():
            self._listens = False
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if self.is_due:
                leave()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_due or not _is_in_fit(frame):  # asked twice, or a fit that broke off
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._deadline = time.monotonic() + float(self._grace or 0.0)
        with contextlib.suppress(RuntimeError, OSError):  # in the middle of another print
            sys.stderr.write("\nkept: SIGTERM, saving at the end of this batch\n")
            sys.stderr.flush()


def leave() -> Any:
    """End the process with the code that says SIGTERM."""
    raise SystemExit(EXIT_CODE)


def _is_in_fit(frame: FrameType | None) -> bool:
    """Return whether a fit of Keras is being interrupted: none of its hooks tells of its end."""
    while frame is not None:
        if frame.f_code.co_name == "fit" and _OF_A_FIT & frame.f_locals.keys():
            return True
        frame = frame.f_back
    return False
