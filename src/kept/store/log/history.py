"""What the events of a log add up to: versions, their aliases, what is deleted.

Events are folded from the newest to the oldest, so the first word about an alias or a deletion is
the one that holds, and when a version's own event is reached all that is to know of it is known.
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
    """A version as the log tells of it."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which has no use here
    type: str
    manifest: str  # digest of the manifest's bytes, which names its key
    digest: str  # content digest
    size: int  # bytes of all its files
    aliases: tuple[str, ...]  # with latest where it is due
    metadata: dict[str, Json]
    created_at: str
    deleted: bool
    deleted_at: str | None = None  # since when it is deleted
    expires: str | None = None  # from when on anybody may delete it
    delete_reason: str | None = None  # what rule has deleted it, None where a person has
    undeleted: bool = False  # whether it was deleted once, and that was taken back


def version_records(newest_first: Iterable[Event]) -> Iterator[VersionRecord]:
    """Yield every version, the newest first, deleted ones too; raises Damaged."""
    fold = _Fold()
    for event in newest_first:
        try:
            record = fold.add(event)
        except (KeyError, TypeError, AttributeError):
            raise Damaged(
                f"Record {event.get('number')} tells of nothing known: {event!r}"
            ) from None
        if record is not None:
            yield record


class _Fold:
    """What later events have said of aliases, deletions and expiry; the first word stands."""

    def __init__(self) -> None:
        self._mentioned: set[str] = set()
        self._aliases: dict[int, list[str]] = {}
        self._deleted: dict[int, Event | None] = {}  # by which event, None for undeleted
        self._expires: dict[int, str | None] = {}
        self._has_latest = False

    def add(self, event: Event) -> VersionRecord | None:
        """Take the next older event; return its version if it is the event of one."""
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
        # A mirror brings a version whose content is gone already as one that is deleted.
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
