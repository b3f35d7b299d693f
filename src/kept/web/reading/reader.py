"""What the pages have read of a store: rows of all artifacts, and the versions of some.

Both are kept in memory until the log of the artifact changes.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import KeptError
from kept.store.log.lookup import view_of
from kept.store.search.stamps import is_current, stamp_before, stamp_of
from kept.sync.live import live_runs
from kept.web.reading.memo import Memo
from kept.web.reading.receipts import MirrorReceipts
from kept.web.reading.standings import SECONDS, Standings
from kept.web.reading.versions import Versions, followed, read_versions

if TYPE_CHECKING:
    from kept.store.log.log import View
    from kept.store.receipts import Receipt
    from kept.store.store import Store
    from kept.sync.live import LiveRun
    from kept.web.reading.standings import Table

_MOST = 50_000  # records in memory, about 3 KB each
_MOST_ARTIFACTS = 256
_MOST_LOGS = 256


class _Held(NamedTuple):
    versions: Versions
    stamp: str | None
    generation: int  # of the log


class Reader:
    """Reads a store for pages; many threads may use it at once."""

    def __init__(self, store: Store, patience: float | None = None) -> None:
        """Take the store; patience is how long table waits, None for as long as it takes."""
        self.store = store
        self.memo = Memo()  # what takes long, and never changes
        self._standings = Standings(store.logs, patience)
        self._receipts = MirrorReceipts(store.bucket)
        self._protected: tuple[str, ...] = ()
        self._protected_until = 0.0
        self._held: OrderedDict[str, _Held] = OrderedDict()  # the one used last is last
        self._count = 0
        self._viewed: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def table(self) -> Table:
        """Return the rows of all artifacts, as far as they are known in time."""
        return self._standings.table()

    def protected(self) -> tuple[str, ...]:
        """Return the protected aliases; in object storage, as they were up to 10 seconds ago."""
        now = time.monotonic()
        if not self.store.bucket.is_remote or now >= self._protected_until:
            self._protected = tuple(self.store.protected())
            self._protected_until = now + SECONDS
        return self._protected

    def receipts(self) -> list[Receipt]:
        """Return what mirrors have confirmed."""
        return self._receipts.all()

    def warm(self) -> None:
        """Read what the first page needs; a server calls it at its start."""
        with suppress(KeptError, OSError):
            self.table()
            self.receipts()

    def runs(self) -> list[LiveRun]:
        """Return the trainings that run now and log to this store."""
        return live_runs(self.store.location)

    def versions(self, name: str) -> Versions:
        """Return the versions of an artifact; raises ArtifactNotFound."""
        logs = self.store.logs
        with self._lock:
            held = self._held.get(name)
            if held:
                self._held.move_to_end(name)
        if held and is_current(logs, name, held.stamp, held.versions.head):
            return held.versions
        stamp = stamp_before(logs, name)
        view = view_of(logs, name)
        versions = self._follow(held, view) or read_versions(view)
        if stamp is None and logs.bucket.is_remote:
            stamp = stamp_of(logs, name, view.head)
        self._hold(name, _Held(versions, stamp, view.log.generation))
        return versions

    def view(self, name: str) -> View:
        """Return the log of an artifact; the logs that were asked for last stay in memory."""
        logs = self.store.logs
        with self._lock:
            self._viewed.pop(name, None)
            self._viewed[name] = None
            if len(self._viewed) > _MOST_LOGS:
                oldest, _ = self._viewed.popitem(last=False)
                if oldest not in self._held:
                    logs.forget(oldest)
        return logs.of(name).view()

    def _follow(self, held: _Held | None, view: View) -> Versions | None:
        """Return the versions of a log that has grown since it was held; None if it must be read.

        A folder whose time of change is known, and another, may have been repaired.
        """
        if held is None or held.generation != view.log.generation:
            return None
        is_same = view.head == held.versions.head
        if is_same and held.stamp is not None and not self.store.bucket.is_remote:
            return None
        return followed(held.versions, view)

    def _hold(self, name: str, held: _Held) -> None:
        with self._lock:
            before = self._held.pop(name, None)
            self._count += len(held.versions.records) - len(
                before.versions.records if before else ()
            )
            self._held[name] = held
            while len(self._held) > 1 and (
                self._count > _MOST or len(self._held) > _MOST_ARTIFACTS
            ):
                gone, oldest = self._held.popitem(last=False)
                self._count -= len(oldest.versions.records)
                self.store.logs.forget(gone)
