"""Follows renamed artifacts, so that no event is sent a second time under the new name.

A rename repeats the records of the old name under the new one, with their write_ids. Then a record
in the old log names the new one in moved_to. So:

1. The events before that record are sent under the old name. Once they are, the new name has a
   position: after the last record that the old name had. A second rename continues from there.
2. A new name that repeats the records of another one waits as long as that rename is in progress.
3. An old name can get its versions back. Its new records wait until the other names are read to
   their ends, and those that another name has reported are not reported again.

A copy of another store under a second name has the same records, too. No record names it in
moved_to, so it is an artifact of its own.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged
from kept.store.log.events import certain, is_fence
from kept.watch.cursor import Position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kept.store.log.events import Event
    from kept.store.store import Store


STEADY = 10.0  # seconds without a new record, after which no rename makes a new artifact


class Waits(Exception):
    """The next record of an artifact waits for another artifact."""


class Copying(Waits):
    """Another artifact may be about to be renamed to this one."""


class _Growing(NamedTuple):
    head: int  # the newest record
    since: float


class Renames:
    """Finds what the artifacts of a store were called before."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._firsts: dict[str, str] = {}  # artifact -> write_id of its first version
        self._called: dict[str, set[str]] = {}  # the same the other way round
        self._learned: Sequence[str] = ()
        self.growing: dict[str, _Growing] = {}  # new names that may be those of a rename

    def beginning(
        self, name: str, names: Sequence[str], known: Mapping[str, Position]
    ) -> Position | None:
        """Return the position in a new artifact; None if it has no version yet.

        Raises Waits if another of these names has to hand it over, Copying if one may have to, and
        Damaged.
        """
        first = self._first(name, known)
        if not first:
            return None
        self._learn(names, known)
        others = sorted(self._called[first] - {name})
        if not others:
            return Position(first=first)
        versions = {e["write_id"] for e in self._records(name) if e["event"] == "version"}
        head = self._records(name)[0]["number"]
        logs = {other: self._records(other) for other in others}  # later than the new one
        moved = {e["moved_to"] for records in logs.values() for e in records if "moved_to" in e}
        if any(other in moved and other not in known for other in others):
            raise Waits
        for other, records in logs.items():
            moves = [e["number"] for e in records if e.get("moved_to") == name]
            if moves and (other not in known or moves[0] > known[other].record):
                raise Waits
            if moves:
                self.growing.pop(name, None)
                return self.handed_over(other, name, moves[0])
        theirs = {e["write_id"] for o, each in logs.items() if o in known for e in each}
        if versions <= theirs:
            self._check_steady(name, head)
        self.growing.pop(name, None)
        return Position(first=first)

    def _check_steady(self, name: str, head: int) -> None:
        """Raise Copying unless a log has had no new record for some time."""
        now = time.monotonic()
        before = self.growing.get(name)
        if before is None or before.head != head:
            before = self.growing[name] = _Growing(head, now)
        if now - before.since < STEADY:
            raise Copying

    def handed_over(self, old: str, new: str, at: int) -> Position:
        """Return the position in a new name that has the records before one of the old name."""
        records = self._records(old)
        read = {event["write_id"] for event in records if event["number"] < at}
        for event in self._records(new):
            if event["write_id"] in read:
                return Position(event["number"], event["write_id"])
        return Position()

    def read_under(self, name: str, known: Mapping[str, Position]) -> frozenset[str]:
        """Return the write_ids that a name has, and the later names of the same artifact.

        Raises Waits if one of them is not read to its end, and Damaged. A name that is not watched
        has none.
        """
        found: set[str] = set()
        seen: set[str] = set()
        while name in known and name not in seen:
            seen.add(name)
            records = self._records(name)
            if records and records[0]["number"] > known[name].record:
                raise Waits
            found.update(event["write_id"] for event in records)
            name = known[name].moved_to
        return frozenset(found)

    def _records(self, name: str) -> list[Event]:
        """Return the records of a log as it is now, newest first."""
        return list(certain(self._store.log(name).view().items()))

    def _learn(self, names: Sequence[str], known: Mapping[str, Position]) -> None:
        """Learn the first versions of artifacts, once for a list of names."""
        if names is self._learned:
            return
        for name in names:
            if name not in self._firsts:
                with contextlib.suppress(Damaged):  # this one waits for a repair, and no other does
                    self._first(name, known)
        self._learned = names

    def _first(self, name: str, known: Mapping[str, Position]) -> str:
        """Return the write_id of an artifact's first version, which never changes; empty for none.

        It is noted in the position.
        """
        position = known.get(name)
        found = self._firsts.get(name) or (position.first if position else "")
        if not found:
            log = self._store.log(name)
            head = (log.known or log.view()).head
            records = certain(log.reader.record(number) for number in range(1, head + 1))
            found = next((e["write_id"] for e in records if not is_fence(e)), "")
        if found:
            self._firsts[name] = found
            self._called.setdefault(found, set()).add(name)
            if position:
                position.first = found
        return found
