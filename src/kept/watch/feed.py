"""Reads from a store what has happened since a position; it writes nothing there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged, StoreReplaced
from kept.store.log.events import Fault, is_repaired, refusal
from kept.store.log.lookup import moved_to
from kept.store.log.records import number_of
from kept.store.receipts import readable_receipts
from kept.units import time_text
from kept.watch.cursor import Position
from kept.watch.events import happened, mirrored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.store.log.events import Item
    from kept.store.log.log import View
    from kept.store.receipts import Receipt
    from kept.store.store import Store
    from kept.watch.events import Happening, Wanted


class Step(NamedTuple):
    """A record of a log, and what it reports."""

    end: Position  # once all of it is sent
    events: list[Happening]


class Feed:
    """The wanted events of a store."""

    def __init__(self, store: Store, wanted: Wanted) -> None:
        self._store, self._wanted = store, wanted
        self._firsts: dict[str, str] = {}
        self.has_mirrors = "mirrored" in wanted.kinds

    def names(self) -> list[str]:
        """Return the wanted artifacts, those with an empty log too."""
        return sorted(filter(self._wanted.has_artifact, self._store.logs.names()))

    def end(self, name: str) -> Position:
        """Return the position after everything that has happened so far."""
        return _end(self._store.log(name).view())

    def steps(self, name: str, since: Position) -> Iterator[Step]:
        """Yield what has happened since a position, record by record, oldest first.

        Raises StoreReplaced if the log no longer has that position, and Damaged at a record that
        cannot be read: what comes after it waits for a repair.
        """
        view = self._store.log(name).view()
        if view.head == since.record and _is_at(view, since):
            return
        items = list(view.items())
        _check(name, items, since)
        for at in range(len(items) - 1, -1, -1):
            item = items[at]
            if number_of(item) <= since.record:
                continue
            if isinstance(item, Fault):
                raise Damaged(refusal([item]))
            events = [each for each in happened(name, items, at) if self._wanted.has(each)]
            yield Step(Position(item["number"], item["write_id"]), events)

    def beginning(self, name: str, known: Mapping[str, Position]) -> Position | None:
        """Return the position in a new artifact: after what was sent under its old name, if any.

        A renamed artifact repeats the records of its old name, with their write_ids. Returns None
        as long as that is not finished: the old name still has its versions.
        """
        first = self._first(name)
        old = next((o for o in known if o != name and first == self._first(o)), None)
        if old is None or first is None:
            return Position()
        view = self._store.log(old).view()
        if moved_to(view) != name:
            return None
        records = (item for item in view.items() if isinstance(item, dict))
        read = {each["write_id"] for each in records if each["number"] <= known[old].record}
        for item in self._store.log(name).view().items():
            if isinstance(item, dict) and item["write_id"] in read:
                return Position(item["number"], item["write_id"])
        return Position()

    def _first(self, name: str) -> str | None:
        """Return the write_id of the first record of an artifact, which never changes."""
        if name not in self._firsts:
            item = self._store.log(name).reader.record(1)
            if isinstance(item, Fault):
                return None
            self._firsts[name] = item["write_id"]
        return self._firsts[name]

    def confirmed(self) -> list[Receipt]:
        """Return what the mirrors have confirmed of the wanted artifacts, if that is wanted."""
        found = readable_receipts(self._store.bucket) if self.has_mirrors else ()
        return [each for each in found if self._wanted.has_artifact(each.artifact)]

    def mirrored(self, receipt: Receipt, sent: int) -> list[Happening]:
        """Return the versions that a mirror has confirmed since the version that was sent last."""
        if receipt.version <= sent:
            return []
        items = list(self._store.log(receipt.artifact).view().items())
        now = time_text(datetime.now(UTC))
        versions = range(sent + 1, receipt.version + 1)
        return list(mirrored(receipt.artifact, items, receipt.destination, versions, now))


def _end(view: View) -> Position:
    newest = next(view.items(), None)
    if isinstance(newest, Fault):
        return Position(newest.number)
    return Position(newest["number"], newest["write_id"]) if newest else Position()


def _is_at(view: View, since: Position) -> bool:
    newest = view.tail[-1] if view.tail else None
    return newest is None or isinstance(newest, Fault) or newest["write_id"] == since.write_id


def _check(name: str, items: list[Item], since: Position) -> None:
    """Raise StoreReplaced if a log does not continue a position."""
    if not since.write_id:  # nothing is read yet, or a record that was damaged then
        return
    found = next((item for item in items if number_of(item) == since.record), None)
    if found is None:
        head = number_of(items[0]) if items else 0
        what = f"the watcher has read record {since.record}, and the log ends with {head}"
    elif isinstance(found, Fault) or found["write_id"] == since.write_id or is_repaired(found):
        return
    else:
        what = f"record {since.record} is another one than the watcher has read"
    raise StoreReplaced(
        f"{name}: {what}. The store was restored from an older copy. To watch it as it is now, "
        "pass another --name, or remove the cursor."
    )
