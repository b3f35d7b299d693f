"""The charts of an artifact: its metrics, what its versions take, how long they took."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kept.charts.look import CSS, LIGHT, Look, stacked
from kept.charts.metrics import axis_groups, metric_chart
from kept.charts.parts.series import Axes
from kept.charts.rows import Point
from kept.charts.storage import storage_bars
from kept.names import BEST
from kept.store.display.measured import measured_number, own_aliases, saved_at
from kept.store.rank.mode import mode_of
from kept.units import counted, metric_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kept.charts.rows import Stored
    from kept.store.log.history import VersionRecord
    from kept.web.facts.artifact.choice import Choice
    from kept.web.facts.artifact.series import Extremes, Series

Spec = dict[str, Any]

STALL, WRITE = "stall_seconds", "write_seconds"
_TALL, _LOW = 280, 230  # pixels of a chart alone, and of one among several
_PAGE = Look(CSS, width=None, is_interactive=True)


@dataclass(frozen=True, eq=False)
class MetricCharts:
    """The chart of the chosen metrics; it is made when it is read."""

    series: Series
    choice: Choice
    doomed: frozenset[int] = frozenset()  # versions that the chosen retention would delete

    @cached_property
    def points(self) -> list[Point]:
        """A point for each version, oldest first."""
        return [self._point(record) for record in reversed(self.series.live)]

    @cached_property
    def specs(self) -> list[Spec]:
        """A chart for each group of metrics of one size, for a browser."""
        return self._specs(_PAGE)

    @cached_property
    def figure(self) -> Spec:
        """All charts below each other as one, with fixed colours, for a file."""
        return stacked(self._specs(Look(LIGHT, width=840)))

    @cached_property
    def summary(self) -> str:
        """What the chart shows, in words."""
        metrics, by = self.choice.metrics, self.choice.by
        parts = [_curve(name, self.series.extremes(name)) for name in metrics]
        count = counted(len(self.series.live), "version")
        return f"{', '.join(metrics)} of {count} by {by}. " + " ".join(parts)

    def _specs(self, look: Look) -> list[Spec]:
        groups = self._groups()
        height = _TALL if len(groups) == 1 else _LOW
        sized = Look(look.theme, look.width, height, look.is_interactive)
        return [metric_chart(self.points, group, self.choice.axes, sized) for group in groups]

    def _groups(self) -> list[list[str]]:
        """Return metrics in groups that share an axis: of one direction, and of similar size."""
        by_mode: dict[str | None, list[str]] = {}
        for name in self.choice.metrics:
            by_mode.setdefault(mode_of(name), []).append(name)
        return [group for names in by_mode.values() for group in axis_groups(self.points, names)]

    def _point(self, record: VersionRecord) -> Point:
        return Point(
            record.index,
            self.series.metrics(record),
            measured_number(record, "epoch"),
            saved_at(record) or record.created_at,
            own_aliases(record),
            BEST in record.aliases,
            self.series.monitor,
            record.index in self.doomed,
        )


def storage_chart(rows: Sequence[Stored]) -> Spec:
    """Return the bars of what versions take, oldest first, for a browser."""
    return storage_bars(rows, "Bytes of each version", Look(CSS, width=None, height=_LOW))


def times_chart(records: Iterable[VersionRecord], axes: Axes) -> Spec | None:
    """Return the chart of stall and write times in ms, None if none was measured."""
    names = {STALL: "stall (ms)", WRITE: "write (ms)"}
    points = []
    for record in records:
        found = {name: measured_number(record, key) for key, name in names.items()}
        values = {name: value * 1000 for name, value in found.items() if value is not None}
        points.append(Point(record.index, values, measured_number(record, "epoch"),
                            saved_at(record) or record.created_at))  # fmt: skip
    if not any(point.values for point in points):
        return None
    shown = [name for name in names.values() if any(name in p.values for p in points)]
    look = Look(CSS, width=None, height=_LOW, is_interactive=True)
    return metric_chart(points, shown, Axes(axes.by, log=True), look)


def _curve(name: str, found: Extremes | None) -> str:
    if found is None:
        return f"{name} has no value that can be shown."
    places = zip(("newest", "lowest", "highest"), found, strict=True)
    texts = [f"{place} {metric_text(value)} (v{index})" for place, (value, index) in places]
    return f"{name}: {', '.join(texts)}."
