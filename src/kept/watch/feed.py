"""Reads from a store what has happened since a position; it writes nothing there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged, StoreReplaced
from kept.store.log.events import Fault, is_fence, is_repaired, refusal
from kept.store.log.records import number_of
from kept.store.receipts import readable_receipts
from kept.units import time_text
from kept.watch.cursor import Position
from kept.watch.events import happened, mirrored
from kept.watch.renames import Renames
from kept.watch.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kept.store.log.events import Item
    from kept.store.log.log import View
    from kept.store.receipts import Receipt
    from kept.store.store import Store
    from kept.watch.events import Happening, Wanted

_REMEMBERED = 256  # records of an artifact that stay in memory between two looks


class Step(NamedTuple):
    """A record of a log, and what it reports."""

    end: Position  # once all of it is sent
    events: list[Happening]
    moves_to: str | None = None  # the record says that the artifact continues under this name


class Feed:
    """The wanted events of a store."""

    def __init__(self, store: Store, wanted: Wanted) -> None:
        self._store, self._wanted = store, wanted
        self.renames = Renames(store)
        self.has_mirrors = "mirrored" in wanted.kinds

    def names(self) -> list[str]:
        """Return the wanted artifacts, those with an empty log too."""
        return sorted(filter(self.wants, self._store.logs.names()))

    def wants(self, name: str) -> bool:
        """Return whether the events of an artifact are wanted."""
        return self._wanted.has_artifact(name)

    def check_store(self) -> None:
        """Raise StoreReplaced if the place holds another store than the one that was opened."""
        self._store.logs.check_identity()

    def end(self, name: str) -> Position:
        """Return the position after everything that has happened so far."""
        return _end(self._store.log(name).view())

    def steps(self, name: str, known: Mapping[str, Position]) -> Iterator[Step]:
        """Yield what has happened since the known position, record by record, oldest first.

        Raises StoreReplaced if the log no longer has that position, and Damaged at a record that
        cannot be read: what comes after it waits for a repair. Raises Waits if a record may be one
        that another name of the artifact has, and that name is not read to its end.
        """
        since = known[name]
        view = self._store.log(name).view()
        if view.head == since.record and _is_at(view, since):
            return
        items = list(view.items())
        _check(name, items, since)
        state, moved_to = State(), since.moved_to
        elsewhere: frozenset[str] | None = None  # write_ids that another name has reported
        for item in reversed(items):
            if number_of(item) <= since.record:
                state.add(item)
                continue
            if isinstance(item, Fault):
                raise Damaged(refusal([item]))
            events = [each for each in happened(name, state, item) if self._wanted.has(each)]
            if moved_to and not is_fence(item):
                if elsewhere is None:
                    elsewhere = self.renames.read_under(moved_to, known)
                if item["write_id"] in elsewhere:
                    events = []
                elif item["event"] == "version":  # the old name was taken for something new
                    moved_to = ""
            moves_to = item.get("moved_to")
            moved_to = moves_to or moved_to
            end = Position(item["number"], item["write_id"], moved_to=moved_to, first=since.first)
            yield Step(end, events, moves_to)
        if len(view.tail) > _REMEMBERED:  # pages have most of them by now
            self._store.logs.forget(name)

    def confirmed(self) -> list[Receipt]:
        """Return what the mirrors have confirmed of the wanted artifacts, if that is wanted."""
        found = readable_receipts(self._store.bucket) if self.has_mirrors else ()
        return [each for each in found if self.wants(each.artifact)]

    def mirrored(self, receipt: Receipt, sent: int) -> list[Happening] | None:
        """Return the versions that a mirror has confirmed since the version that was sent last.

        Returns None for an artifact that was renamed: its new name reports them.
        """
        if receipt.version <= sent:
            return []
        items = list(self._store.log(receipt.artifact).view().items())
        if _moved_to(items):
            return None
        now = time_text(datetime.now(UTC))
        versions = range(sent + 1, receipt.version + 1)
        return list(mirrored(receipt.artifact, items, receipt.destination, versions, now))


def _moved_to(newest_first: Iterable[Item]) -> str:
    """Return the name under which an artifact continues, empty if it does not."""
    newest = next((i for i in newest_first if isinstance(i, Fault) or not is_fence(i)), None)
    return "" if newest is None or isinstance(newest, Fault) else newest.get("moved_to", "")


def _end(view: View) -> Position:
    newest = next(view.items(), None)
    if isinstance(newest, Fault):
        return Position(newest.number)
    if newest is None:
        return Position()
    return Position(newest["number"], newest["write_id"], moved_to=_moved_to(view.items()))


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
    raise StoreReplaced(f"{name}: {what}")
