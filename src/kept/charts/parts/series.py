"""The series of a chart of metrics: which points it shows, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from kept.charts.look import labels
from kept.charts.parts.sample import sampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.charts.rows import Point

By = Literal["version", "epoch", "time"]
_MOST = 600  # points of all series together
_LEAST = 80  # of one series
_MOST_DOTS = 100  # versions that would stay, of which each is shown
_HUGE, _TINY = 1e300, 1e-300  # beyond these, the differences of two numbers cannot be computed

_FAR = 2**50  # from here, the ticks of epochs lie too close together


@dataclass(frozen=True, slots=True)
class Axes:
    """What the axes of a chart of metrics show."""

    by: By = "epoch"
    log: bool = False


BY_EPOCH = Axes()


class Series(NamedTuple):
    """A metric of an artifact."""

    name: str  # its label
    metric: str
    points: list[Point]  # those that can be shown, and that are shown, in order
    found: int  # how many could be shown
    hidden: int  # NaN, infinities, and what a log scale cannot show
    without_x: int


def all_series(points: Sequence[Point], metrics: Sequence[str], axes: Axes) -> list[Series]:
    """Return a series for each metric of each artifact, with fewer points if there are many."""
    artifacts = list(dict.fromkeys(point.artifact for point in points))
    keys = [(artifact, metric) for artifact in artifacts for metric in metrics]
    texts = [f"{a}: {m}" if len(artifacts) > 1 else m for a, m in keys]
    if len(artifacts) > 1 and len(metrics) == 1:
        texts = [artifact for artifact, _ in keys]
    known = labels(texts)
    most = max(_MOST // max(len(keys), 1), _LEAST)
    return [
        _series([p for p in points if p.artifact == a], m, known[text], (axes, most))
        for (a, m), text in zip(keys, texts, strict=True)
    ]


def _series(points: list[Point], metric: str, name: str, rule: tuple[Axes, int]) -> Series:
    axes, most = rule
    having = [point for point in points if metric in point.values]
    placed = [point for point in having if x_of(point, axes.by) is not None]
    placed.sort(key=lambda point: point.index)
    values = [drawable(point.values[metric], axes) for point in placed]
    found = [place for place, value in enumerate(values) if math.isfinite(value)]
    marked = [p for p in found if placed[p].is_best or placed[p].flags]
    stay = [p for p in found if not placed[p].would_go]
    marked += stay if len(stay) <= _MOST_DOTS else []
    chosen = sampled(values, most, marked) if len(found) > most else range(len(placed))
    shown = [placed[place] for place in chosen]
    hidden, without_x = len(placed) - len(found), len(having) - len(placed)
    return Series(name, metric, shown, len(found), hidden, without_x)


def x_of(point: Point, by: By) -> float | None:
    """Return where a point lies on the x axis; for times the second."""
    if by == "time":
        return datetime.fromisoformat(point.created).timestamp() if point.created else None
    if by == "version":
        return point.index
    return point.epoch if point.epoch is not None and abs(point.epoch) < _FAR else None


def drawable(value: float, axes: Axes) -> float:
    """Return a value as the axis can show it; NaN if it cannot."""
    if abs(value) < _TINY:
        value = 0.0
    is_out = not abs(value) <= _HUGE or (axes.log and value <= 0)
    return math.nan if is_out else value


def is_number(value: float | None) -> bool:
    """Return whether a value is a finite number."""
    return value is not None and math.isfinite(value)
