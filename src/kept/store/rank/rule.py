"""The rule of an artifact: which metric decides the alias best, whatever its callbacks monitor.

A record of the log states the rule. The newest one counts. A writer finds it once in the log, and
later reads only what is new. A store of an older format has no rule, so nothing is read there.
"""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged, InvalidInput
from kept.store.format_marker import EVENTS_FORMAT, check_format
from kept.store.health.state import is_unhealthy
from kept.store.log.events import Fault
from kept.store.log.history import VersionRecord, live
from kept.store.rank.best import BEST, is_better
from kept.store.rank.live import live_at
from kept.store.rank.values import value_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.encoding import Json
    from kept.store.log.changes import Changes
    from kept.store.log.events import Item
    from kept.store.log.log import Log, Logs, View


class _Value(NamedTuple):
    changes: Changes
    metadata: dict[str, Json]
    value: float | None


@dataclass(frozen=True, slots=True)
class Rule:
    """A metric by which versions are ranked, and which direction is better."""

    monitor: str
    mode: str  # "min" or "max"
    # By number: from which changes and metadata the value was read. A log has thousands of
    # versions, and few of them change between two looks.
    _values: dict[int, _Value] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.monitor} ({self.mode})"

    def value(self, record: VersionRecord) -> float | None:
        """Return the finite value of the metric in a version; None without, or if unhealthy."""
        known = self._values.get(record.index)
        if known is None or not (
            known.changes is record.changes and known.metadata is record.metadata
        ):
            is_left_out = is_unhealthy(record.described)
            value = None if is_left_out else value_of(record, self.monitor)
            known = self._values[record.index] = _Value(record.changes, record.metadata, value)
        return known.value

    def best(self, oldest_first: Iterable[VersionRecord]) -> VersionRecord | None:
        """Return the best version; of equal ones that with the alias best, or else the oldest."""
        found: VersionRecord | None = None
        best: float | None = None
        for record in oldest_first:
            value = self.value(record)
            is_equal = value is not None and value == best and BEST in record.aliases
            if is_equal or is_better(value, best, self.mode):
                found, best = record, value
        return found

    def ranked(self, oldest_first: Iterable[VersionRecord]) -> list[VersionRecord]:
        """Return the versions that have the metric, best first, of equal ones the oldest first."""
        sign = 1 if self.mode == "min" else -1
        valued = [(sign * value, record) for record in oldest_first
                  if (value := self.value(record)) is not None]  # fmt: skip
        return [record for _, record in sorted(valued, key=lambda pair: pair[0])]

    def moves(self, oldest_first: Iterable[VersionRecord]) -> dict[str, Json]:
        """Return the aliases of an event that follows the rule; empty if best stays."""
        found = self.best(oldest_first)
        return {} if found is None or BEST in found.aliases else {BEST: found.index}


@dataclass(frozen=True, slots=True)
class _Known:
    generation: int  # of the log
    head: int
    rule: Rule | None


_known: weakref.WeakKeyDictionary[Log, _Known] = weakref.WeakKeyDictionary()


def rule_of(view: View) -> Rule | None:
    """Return the rule of an artifact in a view of its log, None if its callbacks decide."""
    known, generation = _known.get(view.log), view.log.generation
    if known is not None and known.generation != generation:
        known = None
    if known is not None and known.head == view.head:
        return known.rule
    if known is not None and known.head < view.head:
        new = itertools.islice(view.items(), view.head - known.head)
        rule = _newest(new, known.rule)
    elif view.paged and not _may_have_one(view.log):
        rule = _newest(view.tail[::-1], None)  # of a writer that has just raised the format
    else:
        rule = _newest(view.facts(), None)
    if known is None or known.head < view.head:
        _known[view.log] = _Known(generation, view.head, rule)
    return rule


def check_unruled(logs: Logs, name: str, *aliases: str) -> None:
    """Raise InvalidInput if a person moves the alias best, and a rule of the artifact does, too."""
    rule = rule_of(logs.of(name).view()) if BEST in aliases else None
    if rule is not None:
        raise InvalidInput(
            f"The alias {BEST} of {name} follows {rule}, as `kept best` has set it, and cannot be "
            f"moved by hand. Use another alias, or first end the rule: kept best {name} --clear"
        )


def records_in(view: View) -> list[VersionRecord]:
    """Return the versions that are not deleted, oldest first, as far as the log can be read."""
    try:
        return live_at(view)
    except Damaged:  # an old record; those that can be read are ranked
        return list(live(view.facts(), faults=[]))[::-1]


def _newest(newest_first: Iterable[Item], before: Rule | None) -> Rule | None:
    for item in newest_first:
        if not isinstance(item, Fault) and item["event"] == "rule":
            best = item["best"]
            return best and Rule(best["monitor"], best["mode"])
    return before


def _may_have_one(log: Log) -> bool:
    marker = log.logs.marker
    if marker is None or marker.problem or log.logs.has_events_format:
        return True
    is_newer = marker.format >= EVENTS_FORMAT
    return is_newer or check_format(log.bucket).format >= EVENTS_FORMAT  # raised by another process
