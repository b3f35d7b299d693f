"""The metrics of a version: those of the save, and those that were logged later."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.store.rank.mode import mode_of
from kept.store.rank.values import finite, measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.log.changes import Logged
    from kept.store.log.history import VersionRecord

MOST = 100  # rows


class Metric(NamedTuple):
    """A metric of a version, beside the same one of the version before."""

    name: str  # "test_acc", or "test_acc@set"
    value: float | str
    change: float | None  # against the version before; None if either value is missing or NaN
    is_better: bool | None  # None if it is equal, or if no direction is known
    is_monitored: bool
    is_later: bool  # logged after the save


def metrics_of(record: VersionRecord, before: VersionRecord | None) -> list[Metric]:
    """Return the metrics of a version, the monitored one first, then in the order of the save."""
    monitor = record.metadata.get("monitor")
    later = record.changes.metrics
    known = [*([monitor] if isinstance(monitor, str) else []), *saved_metrics(record), *later]
    found = []
    for name in dict.fromkeys(known):
        value = measured(record, name)
        if repeats_data_set(name, later):
            continue
        if not isinstance(value, (int, float, str)) or isinstance(value, bool):
            continue
        change = _change(record, before, name)
        better = _is_better(record, name, change)
        found.append(Metric(name, value, change, better, name == monitor, name in later))
    return found


def saved_metrics(record: VersionRecord) -> dict[str, object]:
    """Return the metrics of the save, by name."""
    metrics = record.metadata.get("metrics")
    return metrics if isinstance(metrics, dict) else {}


def metric_history(record: VersionRecord) -> Iterator[Logged]:
    """Yield all values that were ever logged for a version, the newest first, then of the save."""
    yield from record.changes.logged
    from kept.store.log.changes import Logged

    for name, value in saved_metrics(record).items():
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            yield Logged(name, value, None, None, record.created_at, None)


def repeats_data_set(name: str, values: Iterable[str]) -> bool:
    """Return whether a metric was also logged as name@set, so that its plain name repeats that."""
    return "@" not in name and any(each.startswith(f"{name}@") for each in values)


def mode_in(record: VersionRecord, name: str) -> str | None:
    """Return "min" or "max", by the metadata of the monitored metric, or by a metric's name."""
    metadata = record.metadata
    if metadata.get("monitor") == name and metadata.get("mode") in ("min", "max"):
        return str(metadata["mode"])
    return mode_of(name)


def _change(record: VersionRecord, before: VersionRecord | None, name: str) -> float | None:
    now = finite(measured(record, name))
    then = finite(measured(before, name)) if before is not None else None
    return None if now is None or then is None else now - then


def _is_better(record: VersionRecord, name: str, change: float | None) -> bool | None:
    mode = mode_in(record, name)
    return (change < 0) == (mode == "min") if change and mode else None
