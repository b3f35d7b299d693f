"""Keeps the alias best where the rule of its artifact, or its callback, wants it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kept.errors import KeptError
from kept.messages import show_once
from kept.store.health.state import is_unhealthy
from kept.store.origin.actor import actor
from kept.store.rank.best import BEST, becomes_best, is_better
from kept.store.rank.rule import Rule, records_in, rule_of
from kept.store.rank.values import committed_value, finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.log.events import Event
    from kept.store.log.log import Log, View


def aliases_of(view: View, event: Event, *, contends: bool, repeats: bool = False) -> list[str]:
    """Return the aliases that a new version takes, with best or without.

    The rule of the artifact decides, also if the version comes with the alias. Without one, the
    metric of the version's callback decides, if the version contends. A version that repeats the
    newest one keeps its own values. An unhealthy version never wins.
    """
    rule, own, metadata = rule_of(view), list(event["aliases"]), event["metadata"]
    if rule is None:
        wins = contends and not is_unhealthy(metadata) and becomes_best(view, metadata)
    else:
        if contends:
            _report(view.log.name, rule, metadata)
        own = [alias for alias in own if alias != BEST]
        wins = not repeats and _beats_all(view, rule, metadata)
    return list(dict.fromkeys([*own, BEST])) if wins else own


def _beats_all(view: View, rule: Rule, metadata: Mapping[str, Any]) -> bool:
    if is_unhealthy(metadata):
        return False
    best = rule.best(records_in(view))
    value = finite(committed_value(metadata, rule.monitor))
    return is_better(value, None if best is None else rule.value(best), rule.mode)


def follow(log: Log) -> None:
    """Move the alias best to where the rule wants it, after versions were deleted or restored.

    The deletion stands in any case. If this fails, the next version or metric moves the alias.
    """
    with contextlib.suppress(KeptError, OSError):
        for view in log.views(log.known):
            rule = rule_of(view)
            moves = rule.moves(records_in(view)) if rule else {}
            event = {"event": "alias", "aliases": moves, "by": actor()}
            if not moves or log.append_after(view, event):
                return


def _report(name: str, rule: Rule, metadata: Mapping[str, Any]) -> None:
    """Print once that the metric of a run does not decide which version is the best."""
    monitor, mode = metadata.get("monitor"), metadata.get("mode")
    if (monitor, mode) != (rule.monitor, rule.mode):
        show_once(
            f"the alias best of {name} follows {rule}, because `kept best` has set that; "
            f"{monitor} of this run does not move it"
        )
