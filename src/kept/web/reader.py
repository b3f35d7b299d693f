"""What the pages have read of a store: the versions of each artifact, until its log changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from kept.store.log.history import version_records
from kept.store.log.lookup import view_of
from kept.store.search.stamps import is_current, stamp_before, stamp_of

if TYPE_CHECKING:
    from kept.store.log.events import Fault
    from kept.store.log.history import VersionRecord
    from kept.store.store import Store

_MOST = 200_000  # records in memory


class Versions(NamedTuple):
    """The versions of an artifact, as its log states them."""

    records: list[VersionRecord]  # newest first, deleted ones too
    faults: list[str]  # what cannot be read

    @property
    def live(self) -> list[VersionRecord]:
        """The versions that are not deleted, newest first."""
        return [record for record in self.records if not record.deleted]


class _Held(NamedTuple):
    versions: Versions
    stamp: str | None
    head: int


class Reader:
    """Reads a store for pages; many threads may use it at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._held: OrderedDict[str, _Held] = OrderedDict()  # the one used last is last
        self._count = 0
        self._lock = threading.Lock()

    def versions(self, name: str) -> Versions:
        """Return the versions of an artifact; raises ArtifactNotFound."""
        logs = self.store.logs
        with self._lock:
            held = self._held.get(name)
            if held:
                self._held.move_to_end(name)
        if held and is_current(logs, name, held.stamp, held.head):
            return held.versions
        stamp = stamp_before(logs, name)
        view = view_of(logs, name)
        faults: list[Fault] = []
        records = list(version_records(view.facts(), faults))
        versions = Versions(records, [fault.message for fault in faults])
        if stamp is None and logs.bucket.is_remote:
            stamp = stamp_of(logs, name, view.head)
        self._hold(name, _Held(versions, stamp, view.head))
        return versions

    def _hold(self, name: str, held: _Held) -> None:
        with self._lock:
            before = self._held.pop(name, None)
            self._count += len(held.versions.records) - len(
                before.versions.records if before else ()
            )
            self._held[name] = held
            while self._count > _MOST and len(self._held) > 1:
                _, oldest = self._held.popitem(last=False)
                self._count -= len(oldest.versions.records)
