"""Frees the bytes of what keep= has deleted, beside the training: on a thread of its own.

No save waits for it. It is safe for other writers, as any gc is; a writer that it meets in the very
moment of a commit stores that version once more. So it runs seldom, and takes little of the time.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kept.store.gc.collector import collect_ruled_out
from kept.store.gc.marks import deleted_by
from kept.store.log.history import version_records
from kept.training.save.writer import yield_to_training

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.store.store import Store

FINISH_SECONDS = 60.0  # how long the end of a fit waits for it
EXIT_SECONDS = 10.0  # and the end of a process, which no thread of obstore may outlive
_NOTICE_AFTER = 1.0  # seconds of waiting before the user is told
_PAUSE = 30.0  # seconds between two runs at the least: each leaves a record in every log
_SHARE = 20  # and so many times as long as the last one took
_running: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class BackgroundGC:
    """What a callback's retention has deleted, and what of it is not freed yet."""

    def __init__(self, grace: timedelta, tell: Callable[[str], None]) -> None:
        """Take how long a deletion can be taken back, and where to tell what fails."""
        self._grace, self._tell = grace, tell
        self._freed: set[tuple[str, int]] = set()
        self._not_before = 0.0
        self._thread: threading.Thread | None = None
        self._told = False

    def wake(self, store: Store, name: str) -> None:
        """Have freed what is due, if the last time is long enough ago; returns at once."""
        is_busy = self._thread is not None and self._thread.is_alive()
        if not is_busy and time.monotonic() >= self._not_before:
            self._start(store, name)

    def finish(self, store: Store, name: str) -> None:
        """Free what is due by now, and wait for that."""
        end = time.monotonic() + FINISH_SECONDS
        if self._wait(name, FINISH_SECONDS):
            self._start(store, name)
            self._wait(name, end - time.monotonic())

    def now(self, store: Store, name: str) -> int:
        """Free all that rules have deleted, grace or not; return how many bytes that was."""
        return collect_ruled_out(store.bucket, store.log, name, timedelta()).bytes

    def _wait(self, name: str, seconds: float) -> bool:
        """Wait for the thread, and tell the user if it takes long; return whether it has ended."""
        thread = self._thread
        if thread is None:
            return True
        thread.join(min(_NOTICE_AFTER, max(seconds, 0.0)))
        if thread.is_alive() and seconds > _NOTICE_AFTER:
            self._tell(f"freeing what keep= has deleted of {name}, {seconds:.0f} s at most")
            thread.join(seconds - _NOTICE_AFTER)
        return not thread.is_alive()

    def _start(self, store: Store, name: str) -> None:
        thread = threading.Thread(target=self._run, args=(store, name), name="kept-gc", daemon=True)
        with contextlib.suppress(RuntimeError):  # there are none any more when a process ends
            thread.start()
            self._thread = thread
            _running.add(thread)

    def _run(self, store: Store, name: str) -> None:
        yield_to_training()
        started = time.monotonic()
        try:
            self._free(store, name)
        except Exception as error:  # noqa: BLE001 - nothing is lost, and the next run tries again
            if not self._told:
                self._told = True
                self._tell(f"the bytes of deleted versions of {name} stay for now: {error}")
        ended = time.monotonic()
        pause = max(_PAUSE, self._grace.total_seconds() / 4, _SHARE * (ended - started))
        self._not_before = ended + pause

    def _free(self, store: Store, name: str) -> None:
        since = datetime.now(UTC) - self._grace
        due = {
            (name, entry.index)
            for entry in version_records(store.log(name).view().backwards())
            if entry.delete_reason is not None and deleted_by(entry, since)
        }
        if due - self._freed:
            collect_ruled_out(store.bucket, store.log, name, self._grace)
            self._freed |= due


@atexit.register
def _exit() -> None:
    end = time.monotonic() + EXIT_SECONDS
    for thread in list(_running):
        thread.join(max(end - time.monotonic(), 0.0))
