"""Delivers the outbox to a store in object storage: each entry becomes a version, in order, once.

Invariant: a record has the write_id of its entry. So the log shows whether an entry is committed,
even if the commit got no answer, or its process was killed before it confirmed the entry.

Invariant: the versions of an artifact have the order of its entries, so the newest checkpoint is
`latest`. A fault of the store stops the entries of the artifact until the next call. Only an entry
that is at fault itself is passed over, and it is not sent once a later one is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from kept.bucket.transfer import Transfer
from kept.errors import Damaged, InvalidInput
from kept.names import LATEST
from kept.store.commit import VersionInfo, commit
from kept.store.content.find_files import Source
from kept.store.log.events import Fault
from kept.store.metadata import MeasuredMetadata
from kept.store.origin.origin import origin_from
from kept.store.promotion.protected import withheld_text
from kept.store.version import after_commit
from kept.sync.outbox.entry import DamagedEntry
from kept.sync.outbox.rejected import aliases_of, is_overtaken, note_later, reject

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from kept.bucket.transfer import Progress
    from kept.store.commit import Committed
    from kept.store.encoding import Json
    from kept.store.log.events import Event
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.sync.outbox.entry import Entry
    from kept.sync.outbox.outbox import Outbox

_PAUSE = 0.1  # seconds between looks, while another process sends
_REJECTED = (DamagedEntry, InvalidInput)  # errors that concern one entry only


class Delivered(NamedTuple):
    """What a call of send has delivered."""

    versions: int
    bytes: int  # of the files; bytes that the store had already were not moved


class Arrivals(Protocol):
    """Takes the versions that checkpoints have become."""

    def arrived(self, version: Version) -> None:
        """Handle a version that the store has now."""


class Delivery:
    """Sends the entries of a store in the outbox. Safe for several threads."""

    def __init__(self, store: Store, outbox: Outbox, arrivals: Arrivals | None = None) -> None:
        """Report to arrivals, in order, the versions of entries that this object adds."""
        self.store, self.outbox = store, outbox
        self._arrivals = arrivals
        self.notes: dict[str, None] = {}  # what a person should know of what was sent, each once
        self._untried: set[str] = set()  # write_ids of entries without an attempt yet
        self._own: dict[
            str, str
        ] = {}  # write_id -> artifact, of added entries that have not arrived

    def add(
        self,
        artifact: str,
        files: Mapping[str, str],
        info: Mapping[str, Json],
        beside: str | os.PathLike[str] | None = None,
    ) -> None:
        """Put a checkpoint in the outbox, durably; see Outbox.add.

        info has the type, aliases, metadata and origin of the version, and whether it contends for
        best.
        """
        added = {"artifact": artifact, **info}
        entry = self.outbox.add(self.store.location, files, added, beside)
        self._own[entry.write_id] = artifact
        self._untried.add(entry.write_id)

    def left(self) -> list[Entry]:
        """Return all entries for the store, of any process; raises Damaged."""
        return self.outbox.entries(self.store.location)

    def send(
        self,
        progress: Progress | None = None,
        artifact: str | None = None,
        *,
        in_parts: bool = False,
        everything: bool = False,
    ) -> Delivered:
        """Make versions of all entries for the store, or of those of an artifact.

        send calls progress with the sent and the total bytes, from any thread, one call at a time.
        Pass in_parts if a person watches (see Transfer).
        If another process sends, send waits for the entries that this object added; with
        everything, for all. Raises what the store raises; unsent entries stay in the outbox. A
        rejected entry stays too, and does not stop others. A damaged log stops the entries of its
        artifact, and no others.
        """
        while True:
            with self.outbox.draining(self.store.location) as mine:
                if mine:
                    entries = [e for e in self.left() if artifact in (None, e.artifact)]
                    size = sum(entry.size for entry in entries)
                    return self._send_all(entries, Transfer(size, progress, in_parts=in_parts))
            self._report_sent_elsewhere()
            if not self._own and not (everything and self.left()):
                return Delivered(0, 0)
            time.sleep(_PAUSE)

    def _send_all(self, entries: list[Entry], transfer: Transfer) -> Delivered:
        recorded = self._recorded(e for e in entries if e.write_id not in self._untried)
        error: Exception | None = None
        rejected: list[Entry] = []
        stopped: set[str] = set()  # artifacts
        versions, size = 0, 0
        for entry in entries:
            if entry.artifact in stopped:
                continue
            try:
                self._send(entry, recorded.get(entry.write_id), transfer, rejected)
            except _REJECTED as problem:
                reject(entry, str(problem))
                rejected.append(entry)
                error = error or problem
                continue
            except Damaged as problem:
                stopped.add(entry.artifact)
                error = problem
                continue
            versions, size = versions + 1, size + entry.size
        self._report_sent_elsewhere()
        if error is not None:
            raise error
        return Delivered(versions, size)

    def _send(
        self, entry: Entry, recorded: Event | None, transfer: Transfer, rejected: list[Entry]
    ) -> None:
        self._untried.discard(entry.write_id)
        if recorded:
            transfer.spared(entry.size)
            committed, index = None, _index(recorded)
        else:
            committed = self._commit(entry, transfer)
            index = committed.record.index
            if committed.withheld:
                place = self.store.location
                self.notes[withheld_text(entry.artifact, committed.withheld, place)] = None
        if entry.write_id in self._own:
            self._report(entry.artifact, index, committed)
            del self._own[entry.write_id]
        elif committed:
            self._look(entry.artifact)
        note_later(rejected, entry)
        self.outbox.confirm(entry)

    def _commit(self, entry: Entry, transfer: Transfer) -> Committed:
        entry.check()
        if is_overtaken(entry):
            raise InvalidInput(
                f"Later checkpoints of {entry.artifact} were sent before it, and as a new version "
                f"it would be the latest one. Store {entry.folder} under another name (kept put), "
                f"or drop it (kept sync --drop-refused)."
            )
        info: dict[str, Any] = entry.info
        version_info = VersionInfo(
            info["type"],
            tuple(a for a in aliases_of(entry) if a != LATEST),  # an earlier kept took it
            MeasuredMetadata(info["metadata"], contends=info.get("contends") is True),
            write_id=entry.write_id,
            origin=origin_from(info.get("origin", {})),
        )
        self.store.create()
        sources = [Source(file.path, file.file) for file in entry.files]
        log = self.store.log(entry.artifact)
        return commit(log, sources, version_info, transfer)

    def _recorded(self, entries: Iterable[Entry]) -> dict[str, Event]:
        """Return the records of those entries that are committed already, by write_id."""
        return self._records({entry.write_id: entry.artifact for entry in entries})

    def _records(self, wanted: Mapping[str, str]) -> dict[str, Event]:
        """Return the records with these write_ids; wanted maps each to its artifact."""
        found: dict[str, Event] = {}
        for artifact in set(wanted.values()):
            sought = {write_id for write_id, name in wanted.items() if name == artifact}
            for event in self.store.log(artifact).view().items():
                if isinstance(event, Fault):  # its own artifact takes no version then
                    continue
                if event["write_id"] in sought:
                    found[event["write_id"]] = event
                    sought.discard(event["write_id"])
                if not sought:
                    break
        return found

    def _report_sent_elsewhere(self) -> None:
        """Report entries that this object added and another process sent."""
        own = dict(self._own)  # before the look, which misses entries that are added later
        waiting = {entry.write_id for entry in self.left()}
        gone = {write_id: name for write_id, name in own.items() if write_id not in waiting}
        for write_id, event in sorted(
            self._records(gone).items(), key=lambda item: int(item[1]["number"])
        ):
            self._report(gone[write_id], _index(event))
        for write_id in gone:
            self._own.pop(write_id, None)

    def _report(self, artifact: str, index: int, committed: Committed | None = None) -> None:
        if self._arrivals is not None:
            version = self.store.logged(artifact, index)
            self._arrivals.arrived(after_commit(version, committed) if committed else version)
        elif committed:
            self._look(artifact)

    def _look(self, artifact: str) -> None:
        """Raise StoreReplaced if the store was emptied while it took the newest version.

        Call it before the entry leaves the outbox. logged looks in the same way.
        """
        self.store.log(artifact).view()


def _index(event: Event) -> int:
    """Return the version of a record: a new one, or the existing one with the same content."""
    found = event["index"] if event["event"] == "version" else next(iter(event["aliases"].values()))
    return int(found)
