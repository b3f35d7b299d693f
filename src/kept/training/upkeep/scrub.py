"""Reads again what new versions build upon, on a thread beside the training.

A version shares blobs with older ones: a frozen base, or an embedding that does not change. If such
a blob is damaged on the disk, every further version is damaged too, although the training has the
right bytes. So this thread reads each of these blobs once in a fit. If one is damaged, it sets it
aside, and the next save stores it again.

Invariants: no save and no step waits for it. It moves only a blob that it has read twice, and found
damaged both times.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, cast

from kept.digest import digest
from kept.messages import show
from kept.store.content.read_manifest import read_manifest
from kept.store.log.history import live
from kept.store.log.lookup import some
from kept.store.repair.set_aside import set_aside_blob
from kept.store.scrub.affected import affected
from kept.store.scrub.blobs import Needs, is_missing, read_all
from kept.store.scrub.metered import MeteredBucket
from kept.training.save.writer import yield_to_training

if TYPE_CHECKING:
    from kept.bucket.base import Bucket
    from kept.store.scrub.blobs import BlobFault
    from kept.store.store import Store
    from kept.store.version import Version

RATE = 100e6  # bytes per second, so that the disk is free for the training data
FINISH_SECONDS = 60.0  # how long the end of a fit waits
EXIT_SECONDS = 10.0  # how long the end of a process waits; no thread of obstore may outlive it
_NOTICE_AFTER = 1.0  # seconds of waiting before a notice
_running: weakref.WeakSet[BackgroundScrub] = weakref.WeakSet()


class BackgroundScrub:
    """Scrubs the versions of one callback, the newest first; older ones that wait are left out."""

    def __init__(self, share: float) -> None:
        """Take the share of the blobs to read, more than 0 and at most 1."""
        self._share = share
        self._changed = threading.Condition()
        self._known: set[str] = set()  # blobs that this fit has written, or read again
        self._aside: dict[str, str] = {}  # key of a damaged blob -> what became of it
        self._version: Version | None = None  # to read next
        self._saves = 0  # in progress
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._has_reported = False
        _running.add(self)

    def begin(self) -> None:
        """Note that a fit begins."""
        with self._changed:
            self._known.clear()
            self._is_closed = False

    def save_begins(self) -> None:
        """Pause before the next blob; returns at once."""
        with self._changed:
            self._saves += 1

    def save_ends(self) -> None:
        """Continue, unless another save is in progress."""
        with self._changed:
            self._saves -= 1
            self._changed.notify_all()

    def committed(self, version: Version, written: frozenset[str]) -> None:
        """Read what a version builds upon, except the blobs written for it; returns at once."""
        with self._changed:
            self._known |= written
            self._version = version
            if not self._is_running() and not self._is_closed:
                thread = threading.Thread(target=self._run, name="kept-scrub", daemon=True)
                with contextlib.suppress(RuntimeError):  # a process that ends can start no thread
                    thread.start()
                    self._thread = thread

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to read; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._is_running(), seconds)

    def finish(self) -> None:
        """Wait a while for the rest, at the end of a fit."""
        if not self.wait(_NOTICE_AFTER):
            show(f"reading again what the versions build upon, for up to {FINISH_SECONDS:.0f} s")
            if not self.wait(FINISH_SECONDS - _NOTICE_AFTER):
                self.close()
                show("not all blobs were read again; run: kept verify")

    def close(self) -> None:
        """End the thread after its current blob."""
        with self._changed:
            self._is_closed, self._version = True, None
            self._changed.notify_all()

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()  # it is not in a forked child

    def _run(self) -> None:
        yield_to_training()
        while (version := self._next()) is not None:
            try:
                self._scrub(version)
            except Exception as error:  # noqa: BLE001 - the versions are as they were
                if not self._has_reported:
                    self._has_reported = True
                    show(f"what {version.reference} builds upon could not be read again: {error}")

    def _next(self) -> Version | None:
        """Return the version to read next; None ends the thread."""
        with self._changed:
            version, self._version = self._version, None
            if version is None:
                self._thread = None
                self._changed.notify_all()
            return version

    def _scrub(self, version: Version) -> None:
        store = version.store
        meter = MeteredBucket(store.bucket)
        bucket = cast("Bucket", meter)
        needs = Needs()
        needs.add(read_manifest(bucket, version.record))
        self._report_restored(bucket)
        with self._changed:
            known = set(self._known)
        chosen = needs.sample(self._share, digest(os.urandom(32)))
        found: dict[str, list[BlobFault]] = {}
        for read in read_all(bucket, needs, [blob for blob in chosen if blob not in known]):
            for fault in read.faults:
                if self._handled(store.bucket, fault):
                    found[read.blob] = read.faults
            with self._changed:
                self._known |= set() if read.faults else {read.blob}
            if not self._may_continue(meter.pause(RATE)):
                break
        if found:
            self._report(store, found)

    def _may_continue(self, pause: float) -> bool:
        """Wait for the pause and for the end of all saves; return whether to read on."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, pause)
            self._changed.wait_for(lambda: self._is_closed or not self._saves)
            return not self._is_closed

    def _handled(self, bucket: Bucket, fault: BlobFault) -> bool:
        """Set a damaged blob aside; return whether the fault is real and not reported yet."""
        if fault.places is not None:  # the blob is sound, and a manifest names a wrong place
            return True
        if fault.key in self._aside:
            return False
        done = set_aside_blob(bucket, fault.key.rpartition("/")[2])
        if done is not None:
            self._aside[fault.key] = done
        return done is not None

    def _report(self, store: Store, found: dict[str, list[BlobFault]]) -> None:
        """Print which versions cannot be read, for each damaged key."""
        versions = [
            (name, record)
            for name in store.logs.names()
            for record in live(store.logs.of(name).view().facts(), [])
        ]
        whose: dict[str, list[str]] = {}
        for finding in affected(store.bucket, versions, found):
            reference = f"{finding.name}:v{finding.record.index}"
            whose.setdefault(finding.key, []).append(reference)
        for key, references in whose.items():
            if key in self._aside:
                show(
                    f"{key} {self._aside[key]}. The next save that has its bytes stores it again. "
                    f"Until then these versions cannot be read: {some(references)}"
                )
            else:
                show(f"{key} is damaged. These versions cannot be read: {some(references)}")

    def _report_restored(self, bucket: Bucket) -> None:
        for key in [key for key in self._aside if not is_missing(bucket, key)]:
            del self._aside[key]
            show(f"{key} is stored again")


@atexit.register
def _exit() -> None:
    end = time.monotonic() + EXIT_SECONDS
    for scrub in list(_running):
        scrub.close()
        scrub.wait(max(end - time.monotonic(), 0.0))
