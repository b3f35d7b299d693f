"""Who changed what in a store, the newest change first, as the logs state it.

A log is read backwards, and only as far as needed: a change of an alias also needs the one before
it, which says from which version the alias was taken.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

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


def _of_all(logs: Logs) -> Iterator[Change]:
    def look(name: str) -> View:
        return logs.of(name).view()

    own = sorted(_protections(logs), key=_time, reverse=True)
    views = mapped(look, list(logs.names()), logs.bucket.concurrency)
    return heapq.merge(own, *map(_changes, views), key=_time, reverse=True)


def _time(change: Change) -> datetime:
    return change.time


def _protections(logs: Logs) -> Iterator[Change]:
    """Yield the last change of each protection; the store keeps no earlier ones."""
    for found in protections(logs.bucket):
        action, state = ("protect", "") if found.protected else ("unprotect", "no longer ")
        text = f"alias {found.alias} is {state}protected"
        moment = datetime.fromisoformat(found.time)
        yield Change(moment, found.by, None, action, text, {"alias": found.alias})


def _changes(view: View) -> Iterator[Change]:
    past = _Past(view)
    position = 0
    while (event := past.at(position)) is not None:
        position += 1
        if is_fence(event):
            continue
        by = event.get("by") or past.committer(event, position)
        moment = datetime.fromisoformat(event["time"])
        for each in worded(event, past.holders(event, position)):
            yield Change(moment, by, view.log.name, each.action, each.text, each.details)


class _Past:
    """The events of a log from the newest on, read as they are needed."""

    def __init__(self, view: View) -> None:
        self._name = view.log.name
        self._items = view.facts()
        self._read: list[Event] = []
        self._mentions: dict[str, list[int]] = {}  # alias -> the places of events that move it

    def at(self, position: int) -> Event | None:
        """Return an event by its place from the newest on, None after the first of the log."""
        while len(self._read) <= position:
            item = next(self._items, None)
            if item is None:
                return None
            if isinstance(item, Fault):
                warn(self._name, [item.message])
            else:
                for alias in item.get("aliases", ()):
                    self._mentions.setdefault(alias, []).append(len(self._read))
                self._read.append(item)
        return self._read[position]

    def holders(self, event: Event, position: int) -> dict[str, int | None]:
        """Return where each alias pointed that an event moves; position is that of older events.

        Aliases that say only when a version was made are left out: no other version had them.
        """
        moved = event.get("aliases", ())
        return {alias: self._holder(alias, position) for alias in moved if not is_automatic(alias)}

    def _holder(self, alias: str, position: int) -> int | None:
        while True:
            places = self._mentions.get(alias, ())
            if (known := bisect_left(places, position)) < len(places):
                return target_of(self._read[places[known]], alias)
            if self.at(len(self._read)) is None:
                return None

    def committer(self, event: Event, position: int) -> str | None:
        """Return who committed a version, by its provenance; None if that does not say."""
        found = event.get("provenance")
        while isinstance(found, int) and (older := self.at(position)) is not None:
            position += 1
            if older["event"] == "version" and older["index"] == event["provenance"]:
                found = older.get("provenance")
        if not isinstance(found, dict) or not found.get("user"):
            return None
        return f"{found['user']}@{found.get('host') or 'unknown'}"
