"""SIGTERM: one last save at the end of the batch, then the process ends.

Schedulers that take a machine away send SIGTERM and, some seconds later, SIGKILL. The handler only
notes the signal, because it may run in the middle of any code. The callback reads the note at the
end of a batch.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from kept.training.keras_api.callers import is_in_fit

if TYPE_CHECKING:
    from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM


class Preemption:
    """Listens for SIGTERM while a fit runs in the main thread."""

    def __init__(self, grace_seconds: float | None) -> None:
        """Take the time from SIGTERM to SIGKILL in seconds; None ignores SIGTERM."""
        self._grace = grace_seconds
        self._deadline: float | None = None
        self._listens = False

    @property
    def is_due(self) -> bool:
        """Whether SIGTERM arrived."""
        return self._deadline is not None

    @property
    def seconds_left(self) -> float:
        """How long the process may live, 0 or more."""
        return max(0.0, (self._deadline or 0.0) - time.monotonic())

    def listen(self) -> None:
        """Handle SIGTERM, unless the program has a handler or this is not the main thread."""
        if self._grace is None or threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGTERM)
        of_failed_fit = isinstance(getattr(handler, "__self__", None), Preemption)
        if handler is signal.SIG_DFL or of_failed_fit:
            signal.signal(signal.SIGTERM, self._note)
            self._listens = True

    def stop(self) -> None:
        """Restore the default handler; end the process if SIGTERM arrived meanwhile."""
        if self._listens and threading.current_thread() is threading.main_thread():
            self._listens = False
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if self.is_due:
                leave()

    def note(self) -> None:
        """Note that SIGTERM has arrived, here or in another process of the run."""
        self._deadline = self._deadline or time.monotonic() + float(self._grace or 0.0)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_due or not is_in_fit(frame):  # a second signal, or the fit failed before
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.note()
        with contextlib.suppress(RuntimeError, OSError):  # the signal interrupted another print
            sys.stderr.write("\nkept: SIGTERM, saving at the end of this batch\n")
            sys.stderr.flush()


def leave() -> NoReturn:
    """End the process with the exit code of SIGTERM."""
    raise SystemExit(EXIT_CODE)
