"""Decides which facts of an event apply at a target that has events of its own.

A fact is where an alias points, when a version expires, whether it is deleted, the value of a
metric, whether a version has a tag, its description, a value of its metadata, or the rule of the
alias best. Rules, the first that fits:

1. The source's log has both mentions of a fact: the one that it has later counts.
2. The stores have changed the fact independently: the later time counts, in both stores, in
   whatever order they are copied to each other.
3. A deletion does not apply if the target has protected the version itself.
4. An alias that the target protects follows promotions alone, and its version stays.
5. An alias does not leave an existing version for one that only the target has deleted.

A fact that does not apply is left out of the event. The event is replayed all the same, so it
counts as copied.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.names import is_automatic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from kept.store.encoding import Json
    from kept.store.log.events import Event

# What a fact is about. It begins with alias (then the name), expires, deleted or description (then
# a version), metric (version, name, data set), tag (version, tag), set (version, key) or rule.
Fact = tuple["str | int | None", ...]


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
    aliases = event.get("aliases", {})
    moves = dict.fromkeys(aliases, index) if kind == "version" else aliases
    found: dict[Fact, Json] = {("alias", alias): at for alias, at in moves.items()}
    if kind == "version" and event.get("deleted"):
        found["deleted", index] = True
    elif kind in ("delete", "undelete"):
        found["deleted", index] = kind == "delete"
    elif kind in ("remove", "restore"):
        found |= {("deleted", at): kind == "remove" for at in event["indexes"]}
    elif kind == "rule":
        found["rule",] = event["best"]
    elif kind == "metrics":
        dataset = event.get("dataset")
        found |= {("metric", index, name, dataset): v for name, v in event["metrics"].items()}
    elif kind == "update":
        found |= {("tag", index, tag): has for tag, has in event.get("tags", {}).items()}
        found |= {("set", index, key): value for key, value in event.get("set", {}).items()}
        found |= {("description", index): event["description"]} if "description" in event else {}
    if "expires" in event:
        found["expires", index] = event["expires"]
    return found


def without(event: Event, dropped: Collection[Fact]) -> Event:
    """Return an event without some of its facts."""
    if not dropped:
        return event
    kind, index = event["event"], event.get("index", -1)
    if kind in ("delete", "undelete") and ("deleted", index) in dropped:
        return blank(event)
    if kind == "rule" and ("rule",) in dropped:  # what it moves is a fact of its own
        event = blank(event) | {"aliases": event.get("aliases", {})}
    kept = dict(event)
    for key in ("expires", "description"):
        if (key, index) in dropped:
            kept.pop(key, None)
    dataset = event.get("dataset")
    for key, of in (
        ("aliases", lambda alias: ("alias", alias)),
        ("indexes", lambda at: ("deleted", at)),
        ("metrics", lambda name: ("metric", index, name, dataset)),
        ("tags", lambda tag: ("tag", index, tag)),
        ("set", lambda name: ("set", index, name)),
    ):
        if key in event:
            left = [each for each in event[key] if of(each) not in dropped]
            values = event[key]
            kept[key] = {each: values[each] for each in left} if isinstance(values, dict) else left
    return kept


def blank(event: Event) -> Event:
    """Return an event that changes nothing, for one that must count as copied."""
    return {"event": "alias", "aliases": {}, **{key: event[key] for key in ("time", "write_id")}}


def deleted_by(event: Event) -> list[int]:
    """Return the versions that an event deletes."""
    if event["event"] == "delete":
        return [event["index"]]
    return list(event["indexes"]) if event["event"] == "remove" else []


class Merge:
    """Merges the events of a source into a target, one by one in the order of the source's log."""

    def __init__(self, source: str, target: str) -> None:
        """Take the locations of both stores, for notes."""
        self._source, self._target = source, target
        self._decides: dict[Fact, _Mention] = {}  # the newest mention in the target's log
        self._names: dict[Json, set[Fact]] = {}  # the aliases of each version there
        self._before: set[str] = set()  # write_ids in the source's log, before the event to settle
        self._guarded: Mapping[str, datetime] = {}

    def at_stake(self, events: Iterable[Event]) -> set[str]:
        """Return the aliases that events move, or whose version they delete."""
        found: set[str] = set()
        for event in events:
            found.update(event.get("aliases", ()))
            for index in deleted_by(event):
                found.update(str(fact[1]) for fact in self._names.get(index, ()))
        return found

    def guard(self, aliases: Mapping[str, datetime]) -> None:
        """Let only promotions move these aliases from a moment on, and no deletion remove them."""
        self._guarded = aliases

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
        dropped: set[Fact] = set()
        notes: list[Note] = []
        for index in deleted_by(event):
            if reason := self._protection(index, is_by_rule="reason" in event):
                dropped.add(("deleted", index))
                stays = f"v{index} was deleted in {self._source} and stays in {self._target}"
                notes.append(Note(("deleted", index), f"{stays}: {reason}"))
        for fact, value in facts(event).items():
            if fact[0] == "alias" and self._is_held(fact, event, value, notes):
                dropped.add(fact)
                continue
            own = self._own(fact)
            if own is None:
                continue
            is_later = _moment(event["time"], event["write_id"]) > _moment(own.time, own.write_id)
            if not is_later:
                dropped.add(fact)
            if fact[0] == "alias" and own.value != value:
                notes.append(self._moved(fact, (value, own.value), is_later=is_later))
        return Settled(without(event, dropped), tuple(notes))

    def _is_held(self, fact: Fact, event: Event, value: Json, notes: list[Note]) -> bool:
        """Return whether an alias of the target does not follow a move, and add the note of it."""
        here = self._decides.get(fact)
        if self._is_guarded(fact, event):
            if here is None or here.value != value:
                notes.append(self._kept(fact, value))
            return True
        if not self._is_gone_there(value):
            return False
        notes.append(self._gone(fact, value))
        return self._exists(fact)

    def _is_guarded(self, fact: Fact, event: Event) -> bool:
        """Return whether a fact is a move that a protected alias of the target does not follow."""
        since = self._guarded.get(str(fact[1]))
        is_late = since is not None and datetime.fromisoformat(event["time"]) > since
        return is_late and "promotion" not in event

    def _kept(self, fact: Fact, value: Json) -> Note:
        here = self._decides.get(fact)
        text = (
            f"the alias {fact[1]} is protected in {self._target} and stays there "
            f"({_place(here.value) if here else 'on no version'}); in {self._source} it was moved "
            f"without a promotion ({_place(value)})"
        )
        return Note(fact, text)

    def _is_gone_there(self, index: Json) -> bool:
        """Return whether a version is deleted in the target; an alias would name nothing there.

        The source may know of the deletion: it has not applied it, if the version exists there.
        """
        state = self._decides.get(("deleted", index)) if index is not None else None
        return state is not None and state.value is True

    def _exists(self, fact: Fact) -> bool:
        """Return whether an alias names a version of the target that is not deleted."""
        here = self._decides.get(fact)
        if here is None or here.value is None:
            return False
        state = self._decides.get(("deleted", here.value))
        return state is None or state.value is False

    def _gone(self, fact: Fact, index: Json) -> Note:
        """Return the note about an alias that has moved to a version which the target deleted."""
        here = self._decides.get(fact)
        stays = f"stays on {_place(here.value)}" if here and self._exists(fact) else "names nothing"
        text = (
            f"the alias {fact[1]} was put on {_place(index)} in {self._source}, which is deleted "
            f"in {self._target}: there it {stays}. To move it, undelete {_place(index)} there, and "
            "promote it"
        )
        return Note(fact, text)

    def _own(self, fact: Fact) -> _Mention | None:
        """Return the target's mention of a fact, unless the source knew it before the event."""
        found = self._decides.get(fact)
        return None if found is None or found.write_id in self._before else found

    def _protection(self, index: int, *, is_by_rule: bool) -> str | None:
        """Return why a deletion must not apply: the target itself has named or undeleted it."""
        state = self._own(("deleted", index))
        if (known := self._decides.get(("deleted", index))) and known.value:
            return None  # it is deleted there, too
        for fact in sorted(self._names.get(index, ())):
            if fact[1] in self._guarded:
                return f"the alias {fact[1]} is protected there"
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
