"""Which version is the best one: the rule of the alias best.

The rule: a new version takes the alias if the metric in its metadata (`monitor`, `mode`, `value`)
beats that of the version that has the alias. If no version has it, or one with another metric, the
new version competes with all versions of its own metric. The writer applies the rule to the log
after which it puts the record, so it does not matter which process writes. An unhealthy version
neither takes the alias nor competes.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kept import names
from kept.store.health.state import is_unhealthy
from kept.store.log.events import Event, Fault, Item
from kept.store.log.history import live

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.store.log.log import Log, View

BEST = names.BEST


@dataclass(frozen=True, slots=True)
class Score:
    """The value of a monitored metric, and which direction is better."""

    monitor: str
    mode: str  # "min" or "max"
    value: float

    def beats(self, other: Score | None) -> bool:
        """Return whether this value is better than another one of the same metric."""
        return other is None or is_better(self.value, other.value, self.mode)

    def is_same_metric(self, other: Score | None) -> bool:
        """Return whether both are values of one metric."""
        return other is not None and (self.monitor, self.mode) == (other.monitor, other.mode)


def is_better(value: float | None, best: float | None, mode: str | None) -> bool:
    """Return whether a value beats the best so far; NaN and infinities never do."""
    if value is None or not math.isfinite(value):
        return False
    if best is None or math.isnan(best):
        return True
    return value < best if mode == "min" else value > best


def score_of(metadata: Mapping[str, Any]) -> Score | None:
    """Return the metric of a version's metadata; None if there is none, or if it is not finite."""
    match metadata:
        case {
            "monitor": str(monitor),
            "mode": "min" | "max" as mode,
            "value": int() | float() as v,
        }:
            if not isinstance(v, bool) and math.isfinite(v):
                return Score(monitor, mode, float(v))
    return None


def becomes_best(view: View, metadata: Mapping[str, Any]) -> bool:
    """Return whether a version with this metadata takes the alias best, as the log is in a view."""
    score = score_of(metadata)
    return score is not None and score.beats(_to_beat(view, score))


@dataclass(frozen=True, slots=True)
class _Holder:
    """The version that has the alias, as the log was after one of its events."""

    after: str  # the write_id of that event
    index: int
    score: Score | None


# The last holder in each log: a commit then reads no old pages, however old the best version is.
_holders: weakref.WeakKeyDictionary[Log, _Holder] = weakref.WeakKeyDictionary()


def _to_beat(view: View, score: Score) -> Score | None:
    """Return the score of the best version of the same metric, None if there is none."""
    known = _holders.get(view.log)
    holder = (known and _followed(known, view.tail)) or _found(view)
    if holder is not None:
        _holders[view.log] = holder
        if score.is_same_metric(holder.score):
            return holder.score
    best: Score | None = None
    for record in live(view.facts(), faults=[]):
        found = None if is_unhealthy(record.described) else score_of(record.metadata)
        if found is not None and score.is_same_metric(found) and found.beats(best):
            best = found
    return best


def _followed(holder: _Holder, tail: tuple[Item, ...]) -> _Holder | None:
    """Return the holder after the events of a tail; None if only the whole log shows it."""
    events = [item for item in tail if not isinstance(item, Fault)]
    ids = [event["write_id"] for event in events]
    if holder.after not in ids or len(events) < len(tail):
        return None
    for event in events[ids.index(holder.after) + 1 :]:
        moves = BEST in event.get("aliases", ())
        if event["event"] == "version" and not event.get("deleted"):
            if moves:
                holder = replace(holder, index=event["index"], score=score_of(event["metadata"]))
        elif moves or _may_free_the_alias(event, holder):
            return None
    return replace(holder, after=ids[-1])


def _may_free_the_alias(event: Event, holder: _Holder) -> bool:
    """Return whether an event that does not name the alias may change who has it."""
    match event["event"]:
        case "delete":
            return bool(event["index"] == holder.index)
        case "remove":
            return holder.index in event["indexes"]
        case "undelete" | "restore":
            return True
    return "lost" in event


def _found(view: View) -> _Holder | None:
    """Return the holder, by the log from its newest event on; None if no version has the alias."""
    newest = view.tail[-1] if view.tail else None
    after = "" if newest is None or isinstance(newest, Fault) else str(newest["write_id"])
    mentions: list[Event] = []
    for record in live(_noting(view.facts(), mentions), faults=[]):
        if BEST in record.aliases:
            score = _repeated(mentions, record.index) or score_of(record.metadata)
            return _Holder(after, record.index, score)
    return None


def _noting(items: Iterator[Item], mentions: list[Event]) -> Iterator[Item]:
    """Yield the items, and note the newest event that gives the alias to an older version."""
    for item in items:
        if not isinstance(item, Fault) and not mentions and item["event"] != "version":
            mentions.extend([item] if BEST in item.get("aliases", ()) else [])
        yield item


def _repeated(mentions: list[Event], index: int) -> Score | None:
    """Return the score with which a version's content was logged again and became the best."""
    if not mentions or mentions[0]["aliases"][BEST] != index:
        return None
    return score_of(mentions[0].get("metadata") or {})
