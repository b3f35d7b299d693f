"""Frees the bytes of versions that keep= deleted, on a thread beside the training.

No save waits for it. It is safe for other writers, as any gc is. A writer that commits in the same
moment stores its version once more, so the thread runs seldom and briefly. What this process has
stored costs no look into the logs of other artifacts. For what earlier processes have stored, a
folder gets a gc of all artifacts; in object storage that would cost too much, so kept gc frees it.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kept.bucket.reach import ends
from kept.messages import show
from kept.store.gc.collector import collect_ruled_out
from kept.store.gc.marks import deleted_by
from kept.store.gc.owned import OwnedBlobs
from kept.store.log.history import version_records
from kept.training.save.writer import yield_to_training

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.store.version import Version

FINISH_SECONDS = 60.0  # how long the end of a fit waits for a gc
EXIT_SECONDS = 10.0  # how long the end of a process waits; no thread of obstore may outlive it
_NOTICE_AFTER = 1.0  # seconds of waiting before a notice
_PAUSE = 30.0  # seconds between two runs: each run writes a record into the log, or into all
_SHARE = 20  # a pause is also this many times as long as the last run
_running: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class BackgroundGC:
    """Collects what the retention of one callback deleted."""

    def __init__(self, grace: timedelta) -> None:
        """Take how long an undelete can restore a version."""
        self._grace = grace
        self._freed: set[tuple[str, int]] = set()
        self._not_before = 0.0
        self._thread: threading.Thread | None = None
        self._has_reported = False
        self._owned: OwnedBlobs | None = None  # set by the first commit

    def committed(self, version: Version, written: frozenset[str]) -> None:
        """Note the blobs that a commit has stored; call it before the next commit begins."""
        if self._owned is None:
            self._owned = OwnedBlobs(version.store.logs, version.name)
        self._owned.committed(version.record.manifest, written)

    def wake(self, store: Store, name: str) -> None:
        """Start a gc if the last one was long enough ago; returns at once."""
        is_busy = self._thread is not None and self._thread.is_alive()
        if not is_busy and time.monotonic() >= self._not_before:
            self._start(store, name)

    def finish(self, store: Store, name: str) -> None:
        """Start a gc and wait for it."""
        end = time.monotonic() + FINISH_SECONDS
        if self._wait(name, FINISH_SECONDS):
            self._start(store, name)
            self._wait(name, end - time.monotonic())

    def collect_now(self, store: Store, name: str) -> bool:
        """Free what all versions that rules deleted need, without grace; return whether it did.

        On a full disk, the list of a gc of one artifact may not fit. Then the other one takes
        several rounds.
        """
        if self._owned is not None and _is_shared(store):
            with contextlib.suppress(OSError):
                if self._owned.collect(timedelta()):
                    return True
        return self._collect_all(store, name, timedelta()) > 0

    def _wait(self, name: str, seconds: float) -> bool:
        """Wait for the thread while the store answers; return whether the thread has ended.

        A notice says that it takes long.
        """
        thread = self._thread
        if thread is None or ends(thread, min(_NOTICE_AFTER, seconds)):
            return True
        if seconds > _NOTICE_AFTER:
            show(f"freeing the deleted versions of {name} for up to {seconds:.0f} s")
        return ends(thread, seconds - _NOTICE_AFTER)

    def _start(self, store: Store, name: str) -> None:
        thread = threading.Thread(target=self._run, args=(store, name), name="kept-gc", daemon=True)
        with contextlib.suppress(RuntimeError):  # a process that ends can start no thread
            thread.start()
            self._thread = thread
            _running.add(thread)

    def _run(self, store: Store, name: str) -> None:
        yield_to_training()
        started = time.monotonic()
        try:
            self._free(store, name)
        except Exception as error:  # noqa: BLE001 - nothing is lost, and the next run tries again
            if not self._has_reported:
                self._has_reported = True
                show(f"the bytes of deleted versions of {name} stay for now: {error}")
        ended = time.monotonic()
        pause = max(_PAUSE, self._grace.total_seconds() / 4, _SHARE * (ended - started))
        self._not_before = ended + pause

    def _free(self, store: Store, name: str) -> None:
        since = datetime.now(UTC) - self._grace
        deleted = {
            (name, record.index): record.manifest
            for record in version_records(store.log(name).view().facts())
            if record.delete_reason is not None and deleted_by(record, since)
        }
        new = deleted.keys() - self._freed
        if not new:
            return
        owned = self._owned if _is_shared(store) else None
        if owned and (store.bucket.is_remote or owned.owns(deleted[each] for each in new)):
            owned.collect(self._grace)
        else:
            self._collect_all(store, name, self._grace)
        self._freed |= new

    def _collect_all(self, store: Store, name: str, grace: timedelta) -> int:
        """Run the gc that puts a fence into the log of every artifact; return the bytes freed."""
        found = collect_ruled_out(store.logs, name, grace)
        if self._owned is not None:
            self._owned.freed(found.gc, (doomed.key for doomed in found.doomed))
        return found.bytes


def _is_shared(store: Store) -> bool:
    """Return whether a store has other artifacts: a gc of all would write into their logs."""
    return len(list(itertools.islice(store.logs.names(), 2))) > 1


@atexit.register
def _exit() -> None:
    end = time.monotonic() + EXIT_SECONDS
    for thread in list(_running):
        thread.join(max(end - time.monotonic(), 0.0))
