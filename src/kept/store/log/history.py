"""Folds the events of a log into versions, with their aliases, deletions and expiry.

It folds from the newest event to the oldest. So the first event that mentions an alias or a
deletion decides it, and at a version's own event everything about the version is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged
from kept.names import LATEST
from kept.store.log.changes import UNCHANGED, Changes
from kept.store.log.events import ORIGIN, Event, Fault, Item, Wrong, refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.encoding import Json

_NO_ORIGIN: dict[str, Json] = {}


class VersionRecord(NamedTuple):
    """A version as all events of the log together state it."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which has no use here
    type: str
    manifest: str  # digest of the manifest's bytes, which names its key
    digest: str  # content digest
    size: int  # bytes of all its files
    aliases: tuple[str, ...]  # with latest if it is the newest
    metadata: dict[str, Json]  # of the commit; what was said later is in changes
    created_at: str
    deleted: bool
    deleted_at: str | None = None  # the time of the deletion
    expires: str | None = None  # the time from which any prune or gc may delete it
    delete_reason: str | None = None  # the rule that deleted it; None if a person did
    undeleted: bool = False  # whether it was deleted once, and undeleted
    is_uncertain: bool = False  # a newer record is a fault: it may delete it or move its aliases
    changes: Changes = UNCHANGED  # what later events add
    origin: dict[str, Json] = _NO_ORIGIN  # provenance, parent and uses, as far as they are known

    @property
    def described(self) -> dict[str, Json]:
        """The metadata with the values that were set later."""
        return self.metadata | self.changes.metadata if self.changes.metadata else self.metadata


def version_records(
    newest_first: Iterable[Item], faults: list[Fault] | None = None
) -> Iterator[VersionRecord]:
    """Yield every version of a log, the newest first, deleted ones too.

    Faults are added to the list as they are met; without a list the first one raises Damaged. The
    numbers of versions have no gap: a repeated or missing number is a fault, too.
    """
    fold = _Fold()
    met: list[Fault] = []
    expected: int | None = None
    for item in newest_first:
        if isinstance(item, Fault):
            _meet(item, met, faults)
            continue
        record = fold.add(item, is_uncertain=bool(met))
        if record is None:
            continue
        if expected is None:
            expected = record.index
        if record.index > expected:
            _meet(_repeated(item), met, faults)
            continue
        if record.index < expected and not met and not fold.has_lost(record.index + 1, expected):
            _meet(_skipped(item, expected), met, faults)
        expected = record.index - 1
        yield record
    if expected is not None and not met and not fold.has_lost(0, expected):
        message = f"v{expected} is in no record of the log"
        _meet(Fault(1, message, Wrong.SKIPPED), met, faults)


def _meet(fault: Fault, met: list[Fault], faults: list[Fault] | None) -> None:
    if faults is None:
        raise Damaged(refusal([fault]))
    met.append(fault)
    faults.append(fault)


def _repeated(event: Event) -> Fault:
    number, index = event["number"], event["index"]
    return Fault(
        number,
        f"Record {number} commits v{index}, and so does a later record",
        Wrong.REPEATED,
    )


def _skipped(event: Event, expected: int) -> Fault:
    number, index = event["number"], event["index"]
    return Fault(
        number,
        f"v{expected} is in no record; record {number} commits v{index}",
        Wrong.SKIPPED,
    )


class _Fold:
    """What newer events say of aliases, deletions and expiry; the newest mention decides."""

    def __init__(self) -> None:
        self._mentioned: set[str] = set()
        self._aliases: dict[int, list[str]] = {}
        self._deleted: dict[int, Event | None] = {}  # by which event, None for undeleted
        self._restored: set[int] = set()  # among _deleted: with all others of the artifact
        self._expires: dict[int, str | None] = {}
        self._changes: dict[int, list[Event]] = {}  # newest first
        self._has_latest = False
        self._lost: set[int] = set()  # versions that a repair has found in no record

    def has_lost(self, first: int, last: int) -> bool:
        """Return whether a repair has marked all these versions as lost."""
        return self._lost.issuperset(range(first, last + 1))

    def add(self, event: Event, *, is_uncertain: bool) -> VersionRecord | None:
        """Take the next older event; return the version if the event commits one."""
        kind = event["event"]
        if kind == "version":
            return self._record(event, is_uncertain=is_uncertain)
        for alias, index in event.get("aliases", {}).items():
            self._mention(alias, index)
        if kind == "alias":
            self._lost.update(event.get("lost", ()))
            if "expires" in event:
                self._expires.setdefault(event["index"], event["expires"])
        elif kind in ("metrics", "update"):
            self._changes.setdefault(event["index"], []).append(event)
        else:
            self._delete(event)
        return None

    def _delete(self, event: Event) -> None:
        kind = event["event"]
        deletion = event if kind in ("delete", "remove") else None
        for index in event.get("indexes", (event.get("index"),) if "index" in event else ()):
            if index not in self._deleted:
                self._deleted[index] = deletion
                if kind == "restore":
                    self._restored.add(index)

    def _mention(self, alias: str, index: int | None) -> None:
        if alias not in self._mentioned:
            self._mentioned.add(alias)
            if index is not None:
                self._aliases.setdefault(index, []).append(alias)

    def _record(self, event: Event, *, is_uncertain: bool) -> VersionRecord:
        index = event["index"]
        names = self._aliases.pop(index, [])
        for alias in event["aliases"]:
            if alias not in self._mentioned:
                self._mentioned.add(alias)
                names.append(alias)
        names.sort()
        # Sync copies a version whose content is gone already as a deleted one.
        from_start = event if event.get("deleted") else None
        deletion = self._deleted.get(index, from_start)
        deleted = deletion is not None
        if not deleted and not self._has_latest:
            self._has_latest = True
            names = names if is_uncertain else [LATEST, *names]  # a newer one may exist
        return VersionRecord(
            index,
            event["type"],
            event["manifest"],
            event["digest"],
            event["size"],
            tuple(names),
            event["metadata"],
            event["time"],
            deleted,
            deletion["time"] if deletion else None,
            self._expires.get(index, event.get("expires")),
            deletion.get("reason") if deletion else None,
            deletion is None and index in self._deleted and index not in self._restored,
            is_uncertain,
            UNCHANGED.after(*reversed(self._changes.pop(index, ()))),
            origin_in(event),
        )


def origin_in(event: Event) -> dict[str, Json]:
    """Return what an event says about a version's origin."""
    if "provenance" in event or "parent" in event or "uses" in event:
        return {key: event[key] for key in ORIGIN if key in event}
    return _NO_ORIGIN


def live(
    newest_first: Iterable[Item], faults: list[Fault] | None = None
) -> Iterator[VersionRecord]:
    """Yield the versions that are not deleted, the newest first; see version_records."""
    return (record for record in version_records(newest_first, faults) if not record.deleted)


def is_deleted(items: Iterable[Item], index: int) -> bool:
    """Return whether a version is deleted, by the items of its log from the newest on."""
    return any(r.index == index and r.deleted for r in version_records(items))


def version_of(event: Event) -> VersionRecord:
    """Return the version that an event commits, as if no later event existed."""
    record = _Fold().add(event, is_uncertain=False)
    assert record is not None, "the event commits a version"
    return record
