"""Decides which facts of an event apply at a target that has events of its own.

A fact is where an alias points, when a version expires, or whether it is deleted. Rules, the first
that fits:

1. The source's log has both mentions of a fact: the one that it has later counts.
2. The stores have changed the fact independently: the later time counts, in both stores, in
   whatever order they are copied to each other.
3. A deletion does not apply if the target has protected the version itself.

A fact that does not apply is left out of the event. The event is replayed all the same, so it
counts as copied.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.names import is_automatic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kept.store.encoding import Json
    from kept.store.log.events import Event

Fact = tuple[str, "str | int"]  # ("alias", name), ("expires", index) or ("deleted", index)


class _Mention(NamedTuple):
    """What the target states about a fact, and the event that says so."""

    value: Json
    time: str
    write_id: str


class Settled(NamedTuple):
    """An event as the target gets it, and what the user should know about that."""

    event: Event
    notes: tuple[Note, ...]


class Note(NamedTuple):
    """A change of one store that yields to the other's; the same subject is reported once."""

    subject: Fact
    text: str


def facts(event: Event) -> dict[Fact, Json]:
    """Return the facts that an event states."""
    kind, index = event["event"], event.get("index", -1)
    found: dict[Fact, Json] = {}
    if kind == "version":
        found |= {("alias", alias): index for alias in event["aliases"]}
        if event.get("deleted"):
            found["deleted", index] = True
    elif kind == "alias":
        found |= {("alias", alias): at for alias, at in event["aliases"].items()}
    else:
        found["deleted", index] = kind == "delete"
    if "expires" in event:
        found["expires", index] = event["expires"]
    return found


def without(event: Event, dropped: Collection[Fact]) -> Event:
    """Return an event without some of its facts."""
    kind, index = event["event"], event.get("index", -1)
    if ("expires", index) in dropped:
        event = {key: value for key, value in event.items() if key != "expires"}
    if kind == "version":
        return event | {"aliases": [a for a in event["aliases"] if ("alias", a) not in dropped]}
    if kind == "alias":
        kept = {a: at for a, at in event["aliases"].items() if ("alias", a) not in dropped}
        return event | {"aliases": kept}
    return blank(event) if ("deleted", index) in dropped else event


def blank(event: Event) -> Event:
    """Return an event that changes nothing, for one that must count as copied."""
    return {"event": "alias", "aliases": {}, **{key: event[key] for key in ("time", "write_id")}}


class Merge:
    """Merges the events of a source into a target, one by one in the order of the source's log."""

    def __init__(self, source: str, target: str) -> None:
        """Take the locations of both stores, for notes."""
        self._source, self._target = source, target
        self._decides: dict[Fact, _Mention] = {}  # the newest mention in the target's log
        self._names: dict[Json, set[Fact]] = {}  # the aliases of each version there
        self._before: set[str] = set()  # write_ids in the source's log, before the event to settle

    def learn(self, newest_first: Iterable[Event]) -> None:
        """Take the events that the target's log has since the last call."""
        new: dict[Fact, _Mention] = {}
        for event in newest_first:
            for fact, value in facts(event).items():
                new.setdefault(fact, _Mention(value, event["time"], event["write_id"]))
        for fact, mention in new.items():
            if fact[0] == "alias":
                before = self._decides.get(fact)
                self._names.get(before.value if before else None, set()).discard(fact)
                self._names.setdefault(mention.value, set()).add(fact)
        self._decides |= new

    def passed(self, event: Event) -> None:
        """Note that the next events follow this one in the source's log."""
        self._before.add(event["write_id"])

    def settle(self, event: Event) -> Settled:
        """Return the event with the facts that apply at the target as it is now."""
        if event["event"] == "delete" and (reason := self._protection(event)):
            index = event["index"]
            text = f"v{index} was deleted in {self._source} and stays in {self._target}: {reason}"
            return Settled(blank(event), (Note(("deleted", index), text),))
        dropped, notes = set(), []
        for fact, value in facts(event).items():
            own = self._own(fact)
            if own is None:
                continue
            is_later = _moment(event["time"], event["write_id"]) > _moment(own.time, own.write_id)
            if not is_later:
                dropped.add(fact)
            if fact[0] == "alias" and own.value != value:
                notes.append(self._moved(fact, (value, own.value), is_later=is_later))
        return Settled(without(event, dropped), tuple(notes))

    def _own(self, fact: Fact) -> _Mention | None:
        """Return the target's mention of a fact, unless the source knew it before the event."""
        found = self._decides.get(fact)
        return None if found is None or found.write_id in self._before else found

    def _protection(self, deletion: Event) -> str | None:
        """Return why a deletion must not apply: the target itself has named or undeleted it."""
        index, is_by_rule = deletion["index"], "reason" in deletion
        state = self._own(("deleted", index))
        if (known := self._decides.get(("deleted", index))) and known.value:
            return None  # it is deleted there, too
        if is_by_rule and state is not None:
            return "it was undeleted there"
        for fact in sorted(self._names.get(index, ())):
            is_ignored = is_by_rule and is_automatic(str(fact[1]))
            if self._own(fact) is not None and not is_ignored:
                return f"the alias {fact[1]} was set there"
        return None

    def _moved(self, fact: Fact, values: tuple[Json, Json], *, is_later: bool) -> Note:
        """Return the note about an alias that both stores have moved, in the source and here."""
        there, here = map(_place, values)
        won, lost = (there, here) if is_later else (here, there)
        winner, loser = (self._source, self._target)[:: 1 if is_later else -1]
        text = (
            f"the alias {fact[1]} was moved in both stores: the later move counts, {won} in "
            f"{winner}, not {lost} in {loser}"
        )
        return Note(fact, text)


def _place(index: Json) -> str:
    return "removed" if index is None else f"v{index}"


def _moment(time: str, write_id: str) -> tuple[datetime, str]:
    return datetime.fromisoformat(time), write_id
