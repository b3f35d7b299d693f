"""The metrics of versions as numbers, and the other values that a table shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kept.store.log.history import VersionRecord

_NOT_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
_LONGEST = 500  # characters of the name of a metric


def metrics_of(record: VersionRecord) -> dict[str, float]:
    """Return the metrics of a version, whenever they were measured; NaN and infinities too."""
    found: dict[str, Any] = {}
    committed = record.metadata
    if isinstance(monitor := committed.get("monitor"), str):
        found[monitor] = committed.get("value")
    if isinstance(metrics := committed.get("metrics"), dict):
        found |= metrics
    if record.changes.logged:
        found |= record.changes.metrics
    numbers = {name: number_of(value) for name, value in found.items() if 0 < len(name) <= _LONGEST}
    return {name: number for name, number in numbers.items() if number is not None}


def number_of(value: Any) -> float | None:
    """Return a value of a log as a number; None if it is none. Texts stand for NaN and infinity."""
    if isinstance(value, str):
        return _NOT_FINITE.get(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of any size
        return None


def measured_number(record: VersionRecord, key: str) -> float | None:
    """Return a number among the metadata of a version, such as its epoch; None if it has none."""
    found = number_of(record.described.get(key))
    return found if found is not None and abs(found) < float("inf") else None
