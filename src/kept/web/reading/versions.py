"""The versions of an artifact as pages need them, and what else its log says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kept.names import LATEST
from kept.store.log.events import Fault, is_fence, is_repaired
from kept.store.log.history import VersionRecord, version_of, version_records
from kept.store.log.records import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.log.events import Event, Item
    from kept.store.log.log import View


class Versions(NamedTuple):
    """The versions of an artifact, as its log states them."""

    records: list[VersionRecord]  # newest first, deleted ones too
    faults: list[str]  # what cannot be read
    head: int = 0  # the number of the last record
    updated: str | None = None  # the time of the last change
    rule: tuple[str, str] | None = None  # the metric and the mode by which a rule moves best
    moved_to: str | None = None  # the last new name, if the artifact was renamed

    @property
    def live(self) -> list[VersionRecord]:
        """The versions that are not deleted, newest first."""
        return [record for record in self.records if not record.deleted]


@dataclass(slots=True)
class _Noted:
    """What events say besides versions; the newest one counts."""

    updated: str | None = None
    rule: tuple[str, str] | None = None
    has_rule: bool = False
    moved_to: str | None = None

    def passing(self, newest_first: Iterable[Item]) -> Iterator[Item]:
        """Yield the items of a log, and note what they say."""
        for item in newest_first:
            if isinstance(item, dict):
                self._note(item)
            yield item

    def _note(self, event: Event) -> None:
        if self.updated is None and not is_fence(event):
            self.updated = event["time"]
        if event["event"] == "rule" and not self.has_rule:
            best = event["best"]
            self.rule, self.has_rule = best and (best["monitor"], best["mode"]), True
        self.moved_to = self.moved_to or event.get("moved_to")


def read_versions(view: View) -> Versions:
    """Return all versions of a log."""
    faults: list[Fault] = []
    noted = _Noted()
    records = list(version_records(noted.passing(view.facts()), faults))
    messages = [fault.message for fault in faults]
    return Versions(records, messages, view.head, noted.updated, noted.rule, noted.moved_to)


def followed(before: Versions, view: View) -> Versions | None:
    """Return the versions of a log that has grown, without reading all of it again.

    It follows new versions and deletions, which are what a training writes. Returns None if other
    things have happened; then the log has to be read.
    """
    new = [item for item in view.tail if number_of(item) > before.head]
    if before.faults or len(new) != view.head - before.head:
        return None
    records, updated = list(before.records), before.updated
    for item in new:
        if isinstance(item, Fault):
            return None
        if is_fence(item):
            continue
        if not (_add(records, item) or _delete(records, item)):
            return None
        updated = item["time"]
    return before._replace(records=records, head=view.head, updated=updated)


def _add(records: list[VersionRecord], event: Event) -> bool:
    """Add the version of an event in front; return False if that is not all the event does."""
    following = records[0].index + 1 if records else 0
    is_plain = event["event"] == "version" and not event.get("deleted") and not is_repaired(event)
    if not is_plain or event["index"] != following:
        return False
    taken = {LATEST, *event["aliases"]}
    for place, record in enumerate(records):
        if not taken.isdisjoint(record.aliases):
            left = tuple(alias for alias in record.aliases if alias not in taken)
            records[place] = record._replace(aliases=left)
    records.insert(0, version_of(event))
    return True


def _delete(records: list[VersionRecord], event: Event) -> bool:
    """Mark the version that an event deletes; return False if the event says something else."""
    if event["event"] != "delete" or not records:
        return False
    place = records[0].index - event["index"]
    known = records[place] if 0 <= place < len(records) else None
    if known is None or known.index != event["index"] or known.deleted or LATEST in known.aliases:
        return False
    records[place] = known._replace(
        deleted=True, deleted_at=event["time"], delete_reason=event.get("reason"), undeleted=False
    )
    return True
