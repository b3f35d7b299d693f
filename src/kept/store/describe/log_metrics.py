"""Logs metrics of versions that exist already, with the move of the alias best that follows."""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput, InvalidMetadata, VersionNotFound
from kept.names import LATEST
from kept.store.log.history import VersionRecord, live
from kept.store.log.later_events import NAME_LENGTH, is_label, is_measured
from kept.store.metadata import check_metadata
from kept.store.origin.actor import actor
from kept.store.rank.rule import Rule, records_in, rule_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.log.events import Event
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
    found = check_metadata(metrics)
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
        record = _living(view, index, records if rule else live(view.facts(), faults=[]))
        if once and record.changes.evaluated(event["evaluation"]):
            return None
        moves = _moves(rule, record, event, records) if rule else {}
        recorded = log.append_after(view, event | ({"aliases": moves} if moves else {}))
        if recorded is not None:
            return _after(record, recorded)
    raise AssertionError("views has no end")


def _moves(
    rule: Rule, record: VersionRecord, event: Event, records: Iterable[VersionRecord]
) -> dict[str, Any]:
    """Return where best goes if this event follows the others."""
    changed = record._replace(changes=record.changes.after(event | {"time": ""}))
    return rule.moves(changed if each.index == record.index else each for each in records)


def _after(record: VersionRecord, event: Event) -> VersionRecord:
    """Return a version after an event about it."""
    moved = event.get("aliases", {})
    names = [name for name in record.aliases if name not in moved]
    names += [name for name, index in moved.items() if index == record.index]
    names.sort(key=lambda name: (name != LATEST, name))
    return record._replace(aliases=tuple(names), changes=record.changes.after(event))


def living(view: View, index: int) -> VersionRecord:
    """Return a version in a view of its log; raises VersionNotFound if it is deleted."""
    return _living(view, index, live(view.facts(), faults=[]))


def _living(view: View, index: int, records: Iterable[VersionRecord]) -> VersionRecord:
    found = next((record for record in records if record.index == index), None)
    if found is None:
        reference = f"{view.log.name}:v{index}"
        raise VersionNotFound(
            f"{reference} was deleted, so nothing is logged for it. To bring it back, before gc: "
            f"kept undelete {reference}"
        )
    return found
