"""From the outbox to a store in object storage: each entry becomes a version, in order, once.

Invariant: a record carries the write_id of its entry. So an entry whose commit got no answer, or
whose process was killed before it was confirmed, is found in the log and not committed again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from kept.bucket.transfer import Transfer
from kept.errors import Damaged, InvalidInput
from kept.store.commit import VersionInfo, commit
from kept.store.content.find_files import Source
from kept.store.metadata import MeasuredMetadata
from kept.sync.outbox.rejected import aliases_of, pass_by, refuse

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from kept.bucket.transfer import Progress
    from kept.store.encoding import Json
    from kept.store.log.log import Event
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.sync.outbox.outbox import Entry, Outbox

_PAUSE = 0.1  # between looks at what another process is sending
_REFUSED = (Damaged, InvalidInput)  # these say something of one entry; the others go on


class Sent(NamedTuple):
    """What a run has sent."""

    versions: int
    bytes: int  # of the files; what the store had already was not moved


class Arrivals(Protocol):
    """Hears which checkpoints have become versions."""

    def arrived(self, version: Version) -> None:
        """Take note of a version."""


class Delivery:
    """Sends what the outbox holds for a store. For many threads."""

    def __init__(self, store: Store, outbox: Outbox, arrivals: Arrivals | None = None) -> None:
        """Report to arrivals the versions of entries that were added here, in order."""
        self.store, self.outbox = store, outbox
        self._arrivals = arrivals
        self._untried: set[str] = set()  # write_ids of entries that no attempt was made for
        self._own: dict[str, str] = {}  # write_id -> artifact, of entries that have not arrived

    def add(
        self,
        artifact: str,
        files: Mapping[str, str],
        label: Mapping[str, Json],
        beside: str | os.PathLike[str] | None = None,
    ) -> None:
        """Put a checkpoint in the outbox, durably; see Outbox.add.

        label has the type, aliases and metadata of the version.
        """
        content = {"artifact": artifact, **label}
        entry = self.outbox.add(self.store.location, files, content, beside)
        self._own[entry.write_id] = artifact
        self._untried.add(entry.write_id)

    def left(self) -> list[Entry]:
        """Return what waits for the store, whoever added it; raises Damaged."""
        return self.outbox.entries(self.store.location)

    def send(
        self,
        progress: Progress | None = None,
        artifact: str | None = None,
        *,
        in_parts: bool = False,
        everything: bool = False,
    ) -> Sent:
        """Make versions of all that waits, or of an artifact's.

        progress is called with the bytes that are sent and those that are to be, by any thread, by
        one at a time; in_parts where somebody watches (see Transfer).
        What another process is sending is left to it, but for what was added here, which is
        waited for; with everything, all is. Raises what the store raises; then what was not sent
        still waits. An entry that is refused still waits too, and does not keep others from being
        sent.
        """
        while True:
            with self.outbox.draining(self.store.location) as mine:
                if mine:
                    entries = [e for e in self.left() if artifact in (None, e.artifact)]
                    size = sum(entry.size for entry in entries)
                    return self._send_all(entries, Transfer(size, progress, in_parts=in_parts))
            self._find_own()
            if not self._own and not (everything and self.left()):
                return Sent(0, 0)
            time.sleep(_PAUSE)

    def _send_all(self, entries: list[Entry], transfer: Transfer) -> Sent:
        recorded = self._recorded(e for e in entries if e.write_id not in self._untried)
        error: Exception | None = None
        refused: list[Entry] = []
        versions, size = 0, 0
        for entry in entries:
            try:
                self._send(entry, recorded.get(entry.write_id), transfer, refused)
            except _REFUSED as problem:
                refuse(entry, str(problem))
                refused.append(entry)
                error = error or problem
                continue
            versions, size = versions + 1, size + entry.size
        self._find_own()
        if error is not None:
            raise error
        return Sent(versions, size)

    def _send(
        self, entry: Entry, recorded: Event | None, transfer: Transfer, refused: list[Entry]
    ) -> None:
        self._untried.discard(entry.write_id)
        if recorded:
            transfer.spared(entry.size)
        index = _index(recorded) if recorded else self._commit(entry, transfer)
        if entry.write_id in self._own:
            self._report(entry.artifact, index)
            del self._own[entry.write_id]
        pass_by(refused, entry)
        self.outbox.confirm(entry)

    def _commit(self, entry: Entry, transfer: Transfer) -> int:
        entry.check()
        content: dict[str, Any] = entry.content
        label = VersionInfo(
            content["type"],
            tuple(aliases_of(entry)),
            MeasuredMetadata(content["metadata"], started=0.0, seconds=()),
            write_id=entry.write_id,
        )
        self.store.create()
        sources = [Source(file.path, file.file) for file in entry.files]
        log = self.store.log(entry.artifact)
        return commit(log, sources, label, transfer).index

    def _recorded(self, entries: Iterable[Entry]) -> dict[str, Event]:
        """Return the records of those entries that were committed already."""
        doubtful = {entry.write_id: entry.artifact for entry in entries}
        return self._records(doubtful)

    def _records(self, wanted: Mapping[str, str]) -> dict[str, Event]:
        """Return the records with these write_ids, given with their artifacts."""
        found: dict[str, Event] = {}
        for artifact in set(wanted.values()):
            sought = {write_id for write_id, name in wanted.items() if name == artifact}
            for event in self.store.log(artifact).view().backwards():
                if event["write_id"] in sought:
                    found[event["write_id"]] = event
                    sought.discard(event["write_id"])
                if not sought:
                    break
        return found

    def _find_own(self) -> None:
        """Tell of entries that were added here and sent by another process."""
        own = dict(self._own)  # first: one that is added after the look was not seen, but waits
        waiting = {entry.write_id for entry in self.left()}
        gone = {write_id: name for write_id, name in own.items() if write_id not in waiting}
        for write_id, event in sorted(
            self._records(gone).items(), key=lambda item: int(item[1]["number"])
        ):
            self._report(gone[write_id], _index(event))
        for write_id in gone:
            self._own.pop(write_id, None)

    def _report(self, artifact: str, index: int) -> None:
        if self._arrivals is not None:
            self._arrivals.arrived(self.store.logged(artifact, index))


def _index(event: Event) -> int:
    """Return the version that a record is about: a new one, or the one with the same content."""
    found = event["index"] if event["event"] == "version" else next(iter(event["aliases"].values()))
    return int(found)
