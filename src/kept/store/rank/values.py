"""The value of a metric in a version, from what was measured at any time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kept.store.encoding import as_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kept.store.encoding import Json
    from kept.store.log.history import VersionRecord


def measured(record: VersionRecord, monitor: str) -> Json:
    """Return what was measured for a metric, in the form of the log; None for nothing.

    The newest value that was logged later counts, then that of the metadata's metrics, then the
    monitored value of the callback.
    """
    later = record.changes.metrics if record.changes.logged else {}
    return later[monitor] if monitor in later else committed_value(record.metadata, monitor)


def committed_value(metadata: Mapping[str, Json], monitor: str) -> Json:
    """Return what the metadata of a commit say of a metric; None for nothing."""
    metrics = metadata.get("metrics")
    if isinstance(metrics, dict) and metrics.get(monitor) is not None:
        return metrics[monitor]
    return metadata.get("value") if metadata.get("monitor") == monitor else None


def finite(value: Json) -> float | None:
    """Return a value as a number that can be compared; None for NaN, infinities and others."""
    number = as_number(value)
    return number if number is not None and math.isfinite(number) else None


def value_of(record: VersionRecord, monitor: str) -> float | None:
    """Return the finite value of a metric in a version, None if it has none."""
    return finite(measured(record, monitor))


def metric_names(records: Iterable[VersionRecord]) -> set[str]:
    """Return the names of all metrics that versions have a finite value of."""
    names: set[str] = set()
    for record in records:
        known = {*record.changes.metrics, str(record.metadata.get("monitor") or "")}
        metrics = record.metadata.get("metrics")
        known |= set(metrics) if isinstance(metrics, dict) else set()
        names |= {name for name in known - names if value_of(record, name) is not None}
    return names
