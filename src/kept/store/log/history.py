"""Folds the events of a log into versions, with their aliases, deletions and expiry.

It folds from the newest event to the oldest. So the first event that mentions an alias or a
deletion decides it, and at a version's own event everything about the version is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged
from kept.names import LATEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.encoding import Json
    from kept.store.log.log import Event


class VersionRecord(NamedTuple):
    """A version as all events of the log together state it."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which has no use here
    type: str
    manifest: str  # digest of the manifest's bytes, which names its key
    digest: str  # content digest
    size: int  # bytes of all its files
    aliases: tuple[str, ...]  # with latest if it is the newest
    metadata: dict[str, Json]
    created_at: str
    deleted: bool
    deleted_at: str | None = None  # the time of the deletion
    expires: str | None = None  # the time from which any prune or gc may delete it
    delete_reason: str | None = None  # the rule that deleted it; None if a person did
    undeleted: bool = False  # whether it was deleted once, and undeleted


def version_records(newest_first: Iterable[Event]) -> Iterator[VersionRecord]:
    """Yield every version, the newest first, deleted ones too; raises Damaged."""
    fold = _Fold()
    for event in newest_first:
        try:
            record = fold.add(event)
        except (KeyError, TypeError, AttributeError):
            raise Damaged(
                f"Record {event.get('number')} holds no event that this kept knows: {event!r}"
            ) from None
        if record is not None:
            yield record


class _Fold:
    """What newer events say of aliases, deletions and expiry; the newest mention decides."""

    def __init__(self) -> None:
        self._mentioned: set[str] = set()
        self._aliases: dict[int, list[str]] = {}
        self._deleted: dict[int, Event | None] = {}  # by which event, None for undeleted
        self._expires: dict[int, str | None] = {}
        self._has_latest = False

    def add(self, event: Event) -> VersionRecord | None:
        """Take the next older event; return the version if the event commits one."""
        kind = event["event"]
        if kind == "version":
            self._mention(dict.fromkeys(event["aliases"], event["index"]))
            return self._record(event)
        if kind == "alias":
            self._mention(event["aliases"])
            if "expires" in event:
                self._expires.setdefault(event["index"], event["expires"])
        elif kind in ("delete", "undelete"):
            self._deleted.setdefault(event["index"], event if kind == "delete" else None)
        else:
            raise KeyError(kind)
        return None

    def _mention(self, aliases: dict[str, int | None]) -> None:
        for alias, index in aliases.items():
            if alias not in self._mentioned:
                self._mentioned.add(alias)
                if index is not None:
                    self._aliases.setdefault(index, []).append(alias)

    def _record(self, event: Event) -> VersionRecord:
        index = event["index"]
        names = sorted(self._aliases.pop(index, ()))
        # Sync copies a version whose content is gone already as a deleted one.
        from_start = event if event.get("deleted") else None
        deletion = self._deleted.get(index, from_start)
        deleted = deletion is not None
        if not deleted and not self._has_latest:
            self._has_latest, names = True, [LATEST, *names]
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
            deletion is None and index in self._deleted,
        )


def live(newest_first: Iterable[Event]) -> Iterator[VersionRecord]:
    """Yield the versions that are not deleted, the newest first."""
    return (record for record in version_records(newest_first) if not record.deleted)
