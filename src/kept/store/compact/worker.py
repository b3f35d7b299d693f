"""A process that stores the versions of one artifact in less room while a run trains.

A process, not a thread: a thread of the lowest priority may be suspended while it holds the
interpreter's lock, and then the training waits for it. A process uses only idle processor time, and
killing it does no harm (compactor.py says why). If two processors of the machine share one core,
even that slows a training on both of them to 0.78 of its steps. So during the run it also rests: it
takes at most a tenth of all processors. The run starts it with

    python -m kept.store.compact.worker FOLDER NAME PARENT [max]

Orders come on standard input, a byte each: PAUSE (a checkpoint is being saved), GO (it is saved,
and there may be new versions), FINISH (end when nothing is left). The worker also ends, at once, if
its input ends or its parent has ended. Its last output is a line of JSON with its results.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kept.store.compact.compactor import Compacted

PAUSE, GO, FINISH = b"p", b"g", b"f"
_LOOK = 2.0  # seconds between two checks that the parent lives
_SHARE = 0.1  # of the machine's processors, during the run


class _Over(Exception):
    """The run has ended, so the worker stops."""


class Orders:
    """The orders of the run."""

    def __init__(self, parent: int, stream: int = 0) -> None:
        self._parent, self._stream = parent, stream
        self._paused = False
        self._news = True
        self._finish = False
        self._worked = time.process_time()
        self._rest = max(0.0, 1 / (_SHARE * (os.cpu_count() or 1)) - 1)  # for a second of work

    def look(self) -> None:
        """Rest, read new orders, and wait during a pause; call it between two steps."""
        worked = time.process_time() - self._worked
        self._take(0 if self._finish else worked * self._rest)
        self._worked += worked
        while self._paused:
            self._take(_LOOK)

    def next_round(self) -> bool:
        """Wait until there may be new versions; return False when the worker has to end."""
        while self._paused or not (self._news or self._finish):
            self._take(_LOOK)
        self._take(0)  # GO that came with FINISH, or before it
        if not self._news:
            return False
        self._news = False
        return True

    def _take(self, seconds: float) -> None:
        if os.getppid() != self._parent:
            raise _Over
        if not select.select([self._stream], [], [], seconds)[0]:
            return
        orders = os.read(self._stream, 64)
        if not orders:
            raise _Over
        for order in (orders[at : at + 1] for at in range(len(orders))):
            self._finish |= order == FINISH
            self._news |= order == GO
            self._paused = order == PAUSE


def main(folder: str, name: str, parent: int, *, smallest: bool) -> int:
    """Do the work; return the exit code: 0 if nothing is left or the run has ended."""
    use_idle_time_only()  # before the slow imports
    from kept.bucket.local import LocalBucket
    from kept.errors import KeptError
    from kept.store.compact.compactor import Compactor
    from kept.store.format_marker import check_format
    from kept.store.log.history import live
    from kept.store.log.log import Logs

    bucket, orders, error = LocalBucket(folder), Orders(parent), None
    compactor = Compactor(bucket, smallest=smallest)
    try:
        check_format(bucket)
        log = Logs(bucket).of(name)
        while orders.next_round():
            newest_first = live(log.view().facts())
            for _ in compactor.steps(name, list(newest_first)[::-1]):
                orders.look()
    except _Over:
        pass
    except (KeptError, OSError) as found:
        error = f"{type(found).__name__}: {found}"
    _report(compactor.done, error)
    return 0 if error is None else 1


def use_idle_time_only() -> None:
    """Have this process run almost only while no other one wants the processor."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):  # Linux
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _report(done: Compacted, error: str | None) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(asdict(done) | {"error": error}).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), smallest="max" in sys.argv[4:]))
