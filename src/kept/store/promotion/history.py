"""Who changed what in a store, the newest change first, as the logs state it.

A log is read backwards, and only as far as needed: a change of an alias also needs the one before
it, which says from which version the alias was taken.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.names import is_automatic
from kept.parallel import mapped
from kept.store.log.events import Fault, is_fence
from kept.store.log.lookup import view_of
from kept.store.problems import warn
from kept.store.promotion.protected import protections
from kept.store.promotion.stack import target_of
from kept.store.promotion.wording import worded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.encoding import Json
    from kept.store.log.events import Event
    from kept.store.log.log import Logs, View


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an artifact, or of the store."""

    time: datetime  # in UTC; a copy of a store has the times of the original
    by: str | None  # user@host, or $KEPT_USER; None if the record does not say
    artifact: str | None  # None for a change of the store: the protection of an alias
    action: str  # version, alias, promote, rollback, metrics, tag, delete, …; see docs/promotion.md
    text: str  # what changed, for people
    details: dict[str, Json]  # what changed, for programs; version is the number of the version

    def as_json(self) -> dict[str, Json]:
        """Return the change as JSON has it."""
        return {
            "time": self.time.isoformat(),
            "by": self.by,
            "artifact": self.artifact,
            "action": self.action,
            "text": self.text,
            "details": self.details,
        }


def history(logs: Logs, name: str | None = None) -> Iterator[Change]:
    """Return the changes of one artifact, or of all and of the store; see Store.history."""
    if name is not None:
        return _changes(view_of(logs, name))
    return _of_all(logs)


def changes_of(view: View, others: frozenset[str] = frozenset()) -> Iterator[Change]:
    """Yield the changes of an artifact, except those that one of the others has since a rename."""
    return _changes(view, others)


def protection_changes(logs: Logs) -> list[Change]:
    """Return the last change of each protection, the newest first."""
    return sorted(_protections(logs), key=_time, reverse=True)


def _of_all(logs: Logs) -> Iterator[Change]:
    def look(name: str) -> View:
        return logs.of(name).view()

    own = protection_changes(logs)
    names = list(logs.names())
    views = mapped(look, names, logs.bucket.concurrency)
    each = (_changes(view, frozenset(names)) for view in views)
    return heapq.merge(own, *each, key=_time, reverse=True)


def _time(change: Change) -> datetime:
    return change.time


def _protections(logs: Logs) -> Iterator[Change]:
    """Yield the last change of each protection; the store keeps no earlier ones."""
    for found in protections(logs.bucket):
        action, state = ("protect", "") if found.protected else ("unprotect", "no longer ")
        text = f"alias {found.alias} is {state}protected"
        moment = datetime.fromisoformat(found.time)
        yield Change(moment, found.by, None, action, text, {"alias": found.alias})


def _changes(view: View, others: frozenset[str] = frozenset()) -> Iterator[Change]:
    """Yield the changes of an artifact, without those that another one has since a rename."""
    past = _Past(view)
    position = 0
    restored: set[int] = set()  # versions
    while (event := past.at(position)) is not None:
        position += 1
        if event.get("moved_to") in others and restored.isdisjoint(event["indexes"]):
            return
        restored.update(_brings_back(event))
        if is_fence(event):
            continue
        by = event.get("by") or past.committer(event)
        moment = datetime.fromisoformat(event["time"])
        for each in worded(event, past.holders(event, position)):
            yield Change(moment, by, view.log.name, each.action, each.text, each.details)


def _brings_back(event: Event) -> list[int]:
    """Return the deleted versions that exist again because of an event."""
    if event["event"] == "undelete":
        return [event["index"]]
    return list(event["indexes"]) if event["event"] == "restore" else []


class _Past:
    """The events of a log from the newest on, read as they are needed."""

    def __init__(self, view: View) -> None:
        self._name = view.log.name
        self._items = view.facts()
        self._read: list[Event] = []
        self._moves: dict[str, list[_Move]] = {}  # of each alias, the newest first
        self._gaps: list[int] = []  # the places of events before which an unknown one is missing
        self._provenances: dict[int, Json] = {}  # of the versions whose records hold one

    def at(self, position: int) -> Event | None:
        """Return an event by its place from the newest on, None after the first of the log."""
        while len(self._read) <= position:
            item = next(self._items, None)
            if item is None:
                return None
            if isinstance(item, Fault):
                self._pass_over(item)
            else:
                self._learn(item)
                self._read.append(item)
        return self._read[position]

    def _learn(self, event: Event) -> None:
        for alias in event.get("aliases", ()):
            move = _Move(len(self._read), target_of(event, alias))
            self._moves.setdefault(alias, []).append(move)
        if event["event"] == "version" and isinstance(event.get("provenance"), dict):
            self._provenances[event["index"]] = event["provenance"]

    def _pass_over(self, fault: Fault) -> None:
        """Take what the record after a fault repeats of it; if that has nothing, note a gap."""
        warn(self._name, [fault.message])
        after = self._read[-1] if self._read else None
        link = after.get("previous") if after and after["number"] == fault.number + 1 else None
        if link and "event" in link:
            self._learn(link)
        else:
            self._gaps.append(len(self._read))

    def holders(self, event: Event, position: int) -> dict[str, int | None]:
        """Return where each alias pointed that an event moves; position is that of older events.

        Aliases that say only when a version was made are left out: no other version had them. So
        are those that a damaged record may have moved.
        """
        moved = [alias for alias in event.get("aliases", ()) if not is_automatic(alias)]
        found = {alias: self._holder(alias, position) for alias in moved}
        return {alias: move.target for alias, move in found.items() if move is not None}

    def _holder(self, alias: str, position: int) -> _Move | None:
        """Return the last move of an alias before a place; None if a gap leaves that open."""
        while True:
            moves = self._moves.get(alias, ())
            known = bisect_left(moves, position, key=_place_of)
            is_end = known == len(moves) and self.at(len(self._read)) is None
            if known < len(moves) or is_end:
                move = moves[known] if known < len(moves) else _Move(len(self._read), None)
                gap = bisect_left(self._gaps, position)
                return move if gap == len(self._gaps) or self._gaps[gap] > move.place else None

    def committer(self, event: Event) -> str | None:
        """Return who committed a version, by its provenance; None if that does not say."""
        found = event.get("provenance")
        if isinstance(found, int):
            while found not in self._provenances and self.at(len(self._read)) is not None:
                pass
            found = self._provenances.setdefault(found, None)
        if not isinstance(found, dict) or not found.get("user"):
            return None
        return f"{found['user']}@{found.get('host') or 'unknown'}"


class _Move(NamedTuple):
    """A move of an alias, and the place of the event that makes it."""

    place: int
    target: int | None


def _place_of(move: _Move) -> int:
    return move.place
