"""What charts and tables show of versions: their metrics, epochs and the best one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from kept.charts.rows import Point
from kept.names import BEST, is_automatic
from kept.store.encoding import as_number
from kept.store.log.events import check_moment
from kept.store.metadata import SAVED_AT
from kept.store.rank.best import score_of
from kept.store.rank.rule import rule_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kept.store.log.history import VersionRecord
    from kept.store.log.log import View

_LONGEST = 500  # characters of the name of a metric


def metrics_of(record: VersionRecord) -> dict[str, float]:
    """Return the metrics of a version, whenever they were measured; NaN and infinities too."""
    committed = record.metadata
    found: dict[str, Any] = {}
    if isinstance(monitor := committed.get("monitor"), str):
        found[monitor] = committed.get("value")
    if isinstance(metrics := committed.get("metrics"), dict):
        found |= metrics
    if record.changes.logged:
        found |= record.changes.metrics
    numbers = {name: as_number(value) for name, value in found.items() if 0 < len(name) <= _LONGEST}
    return {name: number for name, number in numbers.items() if number is not None}


def measured_number(record: VersionRecord, key: str) -> float | None:
    """Return a number among the metadata of a version, such as its epoch; None if it has none."""
    found = as_number(record.described.get(key))
    return found if found is not None and abs(found) < float("inf") else None


def saved_at(record: VersionRecord) -> str | None:
    """Return when another program saved the checkpoint that was imported as a version, if so."""
    found = record.described.get(SAVED_AT)
    try:
        check_moment(found)
    except ValueError:
        return None
    return str(found)


def epoch_of(record: VersionRecord) -> float | None:
    """Return the epoch of a version, None without one."""
    return measured_number(record, "epoch")


def monitor_of(view: View, newest_first: Sequence[VersionRecord]) -> str | None:
    """Return the metric that decides the best version: by the rule, or by what callbacks say."""
    rule = rule_of(view)
    if rule is not None:
        return rule.monitor
    first = [record for record in newest_first if BEST in record.aliases]
    scores = (score_of(record.metadata) for record in (*first, *newest_first))
    return next((score.monitor for score in scores if score), None)


def metric_names(newest_first: Iterable[VersionRecord], monitor: str | None) -> list[str]:
    """Return the names of all metrics: the monitored one first, then the most frequent ones."""
    counts = Counter(name for record in newest_first for name in metrics_of(record))
    return sorted(counts, key=lambda name: (name != monitor, -counts[name], name))


def own_aliases(record: VersionRecord) -> tuple[str, ...]:
    """Return the aliases that people have put, without latest, best and epoch_<n>."""
    return tuple(a for a in record.aliases if a != BEST and not is_automatic(a))


def points_of(
    newest_first: Sequence[VersionRecord], monitor: str | None, artifact: str = ""
) -> list[Point]:
    """Return the points of a chart, oldest first; artifact if the chart shows several."""
    return [
        Point(
            record.index,
            metrics_of(record),
            epoch_of(record),
            saved_at(record) or record.created_at,
            own_aliases(record),
            BEST in record.aliases,
            monitor,
            artifact=artifact,
        )
        for record in reversed(newest_first)
    ]
