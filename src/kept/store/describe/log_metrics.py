"""Logs metrics of versions that exist already, with the move of the alias best that follows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput, InvalidMetadata, VersionNotFound
from kept.names import LATEST
from kept.store.log.later_events import NAME_LENGTH, is_label, is_measured
from kept.store.metadata import check_metadata
from kept.store.origin.actor import actor
from kept.store.rank.live import live_one
from kept.store.rank.rule import records_in, rule_of
from kept.units import time_text

if TYPE_CHECKING:
    from kept.store.log.events import Event
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Log, View

_EXAMPLE = "{'test_acc': 0.93}"


def metrics_event(
    metrics: Mapping[str, Any], dataset: str | None = None, evaluation: str | None = None
) -> Event:
    """Return the event of these metrics, without its version; raises InvalidInput.

    Values are numbers, also those of NumPy and frameworks. NaN and infinities become texts.
    """
    if not isinstance(metrics, Mapping) or not metrics:
        raise InvalidMetadata(
            f"metrics is a dict of one or more numbers, such as {_EXAMPLE}. Received: {metrics!r}"
        )
    event: Event = {"event": "metrics", "metrics": checked_metrics(metrics)}
    for key, label in (("dataset", dataset), ("evaluation", evaluation)):
        if label is not None:
            event[key] = check_label(label, f"{key} is the name of a {_WHAT[key]}")
    return event


_WHAT = {"dataset": "data set", "evaluation": "evaluation"}


def checked_metrics(metrics: Mapping[str, Any]) -> dict[str, float | str]:
    """Return metrics in the form of the log; raises InvalidMetadata, which names the key."""
    for name, value in metrics.items():
        check_label(name, "A metric has a name")
        is_wrong = isinstance(value, int) and not is_measured(value)
        if is_wrong or isinstance(value, str):
            raise _no_number(name, value)
    found = check_metadata(metrics, "metrics")
    for name, value in found.items():
        if not is_measured(value):
            raise _no_number(name, metrics[name])
    return found


def _no_number(name: str, value: Any) -> InvalidMetadata:
    if isinstance(value, int) and not isinstance(value, bool):
        bits = value.bit_length() + 1
        return InvalidMetadata(f"An integer has at most 64 bits. Received: {name!r}, {bits} bits")
    kind = type(value).__name__
    return InvalidMetadata(f"The metric {name!r} is no number. Received: {short(value)} ({kind})")


def check_label(label: Any, what: str) -> str:
    """Return a valid name of a metric, data set, evaluation or tag; raises InvalidInput."""
    if not is_label(label):
        raise InvalidInput(
            f"{what} of 1 to {NAME_LENGTH} printable characters, without spaces at its ends. "
            f"Received: {label!r}"
        )
    return str(label)


def log_metrics(log: Log, index: int, event: Event, *, once: bool = False) -> VersionRecord | None:
    """Log the event for a version, and move best in the same record if a rule wants that.

    Returns the version with it. With once, returns None and logs nothing if the log has metrics of
    this evaluation already. Raises VersionNotFound for a deleted version.
    """
    event = event | {"index": index, "by": actor()}
    for view in log.views():
        rule = rule_of(view)
        records = records_in(view) if rule else ()
        record = living(view, index)
        if once and record.changes.evaluated(event["evaluation"]):
            return None
        # The time decides which of several data sets is the newest, so best is chosen with it.
        event["time"] = time_text(datetime.now(UTC))
        changed = record._replace(changes=record.changes.after(event))
        moves = rule.moves(changed if r.index == index else r for r in records) if rule else {}
        if log.append_after(view, event | ({"aliases": moves} if moves else {})):
            return _moved(changed, moves)
    raise AssertionError("views has no end")


def _moved(record: VersionRecord, moves: Mapping[str, Any]) -> VersionRecord:
    """Return a version after aliases were moved."""
    names = [name for name in record.aliases if name not in moves]
    names += [name for name, index in moves.items() if index == record.index]
    names.sort(key=lambda name: (name != LATEST, name))
    return record._replace(aliases=tuple(names))


def living(view: View, index: int) -> VersionRecord:
    """Return a version in a view of its log; raises VersionNotFound if it is deleted."""
    found = live_one(view, index)
    if found is None:
        reference = f"{view.log.name}:v{index}"
        raise VersionNotFound(
            f"{reference} was deleted, so nothing is logged for it. To bring it back, before gc: "
            f"kept undelete {reference}"
        )
    return found
