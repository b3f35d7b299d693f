"""The best version by any metric, and the rule that makes a metric decide the alias best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import InvalidInput, VersionNotFound
from kept.names import suggestion
from kept.store.log.lookup import some
from kept.store.origin.actor import actor
from kept.store.rank.best import BEST
from kept.store.rank.mode import check_mode
from kept.store.rank.rule import Rule, records_in, rule_of
from kept.store.rank.values import metric_names, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.log.events import Event
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Log, View


def rule_for(records: Sequence[VersionRecord], monitor: str, mode: str | None) -> Rule:
    """Return the rule by a metric; without mode, versions or the name give its direction.

    Raises InvalidInput if neither does.
    """
    if not isinstance(monitor, str) or not monitor:
        raise InvalidInput(f"monitor is the name of a metric. Received: monitor={monitor!r}")
    modes = (r.metadata.get("mode") for r in reversed(records)
             if r.metadata.get("monitor") == monitor)  # fmt: skip
    known = next((found for found in modes if found in ("min", "max")), None)
    return Rule(monitor, check_mode(monitor, mode, known))


def best_record(view: View, monitor: str | None, mode: str | None) -> VersionRecord:
    """Return the best version by a metric, or without one by the rule, or else the alias best.

    Raises InvalidInput, or VersionNotFound if no version has a finite value of the metric.
    """
    records = records_in(view)
    if monitor is None and mode is not None:
        raise InvalidInput(f"mode needs a monitor. Received: mode={mode!r}")
    rule = rule_of(view) if monitor is None else rule_for(records, monitor, mode)
    if rule is not None:
        found = rule.best(records)
    else:
        found = next((record for record in records if BEST in record.aliases), None)
    if found is None:
        raise VersionNotFound(_none_is_best(view, rule, records))
    return found


def _none_is_best(view: View, rule: Rule | None, records: Sequence[VersionRecord]) -> str:
    names = metric_names(records)
    known = f"Its metrics: {some(sorted(names))}" if names else "It has no metrics"
    if rule is None:
        return f"{view.log.name} has no alias {BEST!r}. {known}. Pass monitor, such as 'test_acc'"
    if any(value_of(record, rule.monitor) is not None for record in records):
        return f"Each version of {view.log.name} with a finite {rule.monitor!r} is unhealthy"
    close = suggestion(rule.monitor, names)
    return f"No version of {view.log.name} has a finite {rule.monitor!r}. {known}{close}"


def set_rule(log: Log, monitor: str | None, mode: str | None) -> VersionRecord | None:
    """Let a metric decide the alias best from now on; with None, the callbacks decide again.

    Returns the version with the alias best, None if no version has it. Raises InvalidInput.
    """
    for view in log.views():
        records = records_in(view)
        rule = None if monitor is None else rule_for(records, monitor, mode)
        moves = rule.moves(records) if rule else {}
        best = rule and {"monitor": rule.monitor, "mode": rule.mode}
        event: Event = {"event": "rule", "best": best, "aliases": moves, "by": actor()}
        is_set = rule_of(view) == rule and not moves
        if is_set or log.append_after(view, event):
            holder = moves.get(BEST)
            return next((r for r in records if r.index == holder), None) or next(
                (r for r in records if BEST in r.aliases), None
            )
    raise AssertionError("views has no end")
