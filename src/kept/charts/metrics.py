"""The chart of metrics over versions, epochs or time, with the best version and flags."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kept.charts.look import USUAL, Look, Spec, framed, label, labels, titled
from kept.charts.parts.curves import Style, curves, hover
from kept.charts.parts.marks import Flags, Place, Span, best_layers
from kept.charts.parts.scales import scales
from kept.charts.parts.series import BY_EPOCH, Axes, Series, all_series, drawable, is_number, x_of
from kept.units import counted, metric_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.charts.rows import Point

_MOST_TIPS = 20  # metrics in a tooltip
_SIZES = ((25, 60), (80, 30), (250, 14))  # up to N points, of this size in square pixels
# The lines of a tooltip that are no metric, and keys that have a meaning of their own there.
_TAKEN = ("version", "epoch", "time", "artifact", "more metrics", "title", "image", "__proto__")


def metric_chart(
    points: Sequence[Point], metrics: Sequence[str], axes: Axes = BY_EPOCH, look: Look = USUAL
) -> Spec:
    """Return the chart of some metrics of versions, in the order of the versions.

    Points that would go are hollow; of many points, only those that would stay are drawn. A metric
    without a value that can be shown has no line; the notes below the title say what is missing and
    how many points of many are shown.
    """
    every = all_series(points, metrics, axes)
    tips = _Tips(points, metrics) if look.is_interactive else None
    rows = [row for number, each in enumerate(every) for row in _rows(number, each, axes, tips)]
    places = places_of(every, axes)
    title = ", ".join(labels(metrics).values())
    size = next((size for most, size in _SIZES if len(rows) <= most), 0)
    notes = notes_of(every, axes, points, has_points=size > 0)
    flags = Flags.of(places, look)
    hollow = any(point.would_go for point in points)
    names = [series.name for series in every]
    style = Style(names, size, flags.height + 2, look.theme)
    layers = [*flags.layers(look), *curves(style, hollow=hollow)]
    layers += best_layers(places, look)
    if look.is_interactive:
        layers.append(hover(look))
    x, y = scales(every, axes, title if len(metrics) == 1 else "")
    for encoding in (layer["encoding"] for layer in layers):
        encoding.setdefault("x", x)
        encoding.setdefault("y", y)
    return framed(
        look,
        _described(every, axes, places, title),
        title={**titled(title, notes), "offset": 8},
        padding={"top": 4, "left": 4, "right": 10, "bottom": 4},
        data={"values": rows},
        layer=layers,
    )


def axis_groups(points: Sequence[Point], metrics: Sequence[str]) -> list[list[str]]:
    """Return metrics in groups whose values can share an axis: none is flat beside another."""
    groups: list[tuple[float, list[str]]] = []
    for metric in metrics:
        values = [abs(p.values[metric]) for p in points if is_number(p.values.get(metric))]
        top = max(values, default=0.0)
        for high, group in groups:
            if min(top, high) * 20 >= max(top, high):
                group.append(metric)
                break
        else:
            groups.append((top, [metric]))
    return [group for _, group in groups]


class _Tips:
    """The tooltips: the labels of all metrics and facts that versions have."""

    def __init__(self, points: Sequence[Point], first: Sequence[str]) -> None:
        metrics = dict.fromkeys([*first, *(m for point in points for m in point.values)])
        self._metrics = list(metrics)[:_MOST_TIPS]
        self._left_out = len(metrics) - len(self._metrics)
        facts = dict.fromkeys(f for point in points for f in point.facts)
        self._facts = [fact for fact in facts if fact not in metrics]
        self._labels = labels([*self._metrics, *self._facts], _TAKEN)

    def of(self, point: Point) -> dict[str, str]:
        """Return the lines of a version."""
        found = {"artifact": label(point.artifact)} if point.artifact else {}
        found["version"] = " ".join([f"v{point.index}", *map(label, point.flags)])
        if point.epoch is not None:
            found["epoch"] = f"{point.epoch:g}"
        if point.created:
            found["time"] = point.created[:19].replace("T", " ")
        values, facts = point.values, point.facts
        found |= {self._labels[m]: metric_text(values[m]) for m in self._metrics if m in values}
        if self._left_out:
            found["more metrics"] = f"{self._left_out:,}"
        return found | {self._labels[f]: label(facts[f], 80) for f in self._facts if f in facts}


def _rows(number: int, series: Series, axes: Axes, tips: _Tips | None) -> Iterator[Spec]:
    for point in series.points:
        value = drawable(point.values[series.metric], axes)
        yield {
            "x": point.created if axes.by == "time" else x_of(point, axes.by),
            "y": value if math.isfinite(value) else None,
            "s": series.name,
            "k": number,
            "n": point.index,
            **({"g": True} if point.would_go else {}),
            **({"tip": tips.of(point)} if tips else {}),
        }


def places_of(every: list[Series], axes: Axes) -> list[Place]:
    """Return the best versions and those with flags, with their places in the chart, 0 to 1."""
    xs = [x_of(point, axes.by) or 0.0 for series in every for point in series.points]
    values = [drawable(p.values[s.metric], axes) for s in every for p in s.points]
    across = Span.of(xs)
    up = Span.of([_height(value, axes) for value in values if math.isfinite(value)])
    found: dict[tuple[str, int], Place] = {}
    for series in every:
        for point in series.points:
            value = drawable(point.values[series.metric], axes)
            key = (point.artifact, point.index)
            is_wanted = key not in found or point.monitor == series.metric
            if (point.is_best or point.flags) and math.isfinite(value) and is_wanted:
                x = x_of(point, axes.by) or 0.0
                at = across.share(x), up.share(_height(value, axes))
                across_x = point.created if axes.by == "time" else x
                found[key] = Place(across_x, value, at, point, series.metric)
    return list(found.values())


def _height(value: float, axes: Axes) -> float:
    return math.log(value) if axes.log else value


def notes_of(
    every: list[Series], axes: Axes, points: Sequence[Point], *, has_points: bool
) -> list[str]:
    """Return what a reader must know of points that are missing, or look different."""
    found, drawn = sum(s.found for s in every), sum(len(s.points) for s in every)
    hidden, without = sum(s.hidden for s in every), sum(s.without_x for s in every)
    would_go = sum(point.would_go for point in points)
    notes = []
    if drawn < found:
        notes.append(
            f"{drawn:,} of {found:,} points are shown, with all lowest and highest values."
        )
    if hidden:
        cause = "zero, negative, NaN or too large" if axes.log else "NaN or too large"
        notes.append(f"{counted(hidden, 'value')} not shown: {cause}.")
    if without:
        notes.append(f"{counted(without, 'version')} not shown: no {axes.by} is known.")
    if would_go:
        stay = f"{counted(len(points) - would_go, 'version')} that would stay, of {len(points):,}"
        hollow = f"Hollow: {counted(would_go, 'version')} that would go."
        notes.append(hollow if has_points else f"Dots: {stay}.")
    if not found:
        notes.append("No value to show.")
    return notes


def _described(every: list[Series], axes: Axes, places: list[Place], title: str) -> str:
    count = len({(point.artifact, point.index) for s in every for point in s.points})
    best = [place.text for place in places if place.point.is_best]
    scale = ", log scale" if axes.log else ""
    return ". ".join([f"{title} by {axes.by}{scale}: {counted(count, 'version')}", *best])
