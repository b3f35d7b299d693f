"""What a chart of metrics marks: the best version with a star, aliases with flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kept.charts.look import Look, Spec, label
from kept.units import metric_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.charts.rows import Point

_STAR = (
    "M0,-1L0.2245,-0.309L0.9511,-0.309L0.3633,0.118L0.5878,0.809L0,0.382"
    "L-0.5878,0.809L-0.3633,0.118L-0.9511,-0.309L-0.2245,-0.309Z"
)
_FLAG = "M-0.5,0.9L-0.5,-0.9L0.9,-0.4L-0.3,0.1L-0.3,0.9Z"
_ROW = 14  # pixels
_WIDTH = 6.2  # of a character
_MOST_ROWS = 3
_USUAL_WIDTH = 800  # of a chart that is as wide as its page


class Span(NamedTuple):
    """From the lowest to the highest value."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Span:
        """Return the span of values; of none it is empty."""
        return cls(min(values, default=0.0), max(values, default=0.0))

    def share(self, value: float) -> float:
        """Return where a value lies, from 0 to 1."""
        if self.high <= self.low:
            return 0.5
        low, high = self.low / 2, self.high / 2  # the difference of two large numbers is infinite
        return (value / 2 - low) / (high - low) if high > low else 0.5


class Place(NamedTuple):
    """A version that is marked, and where it lies."""

    x: float | str
    y: float
    at: tuple[float, float]  # from 0 to 1, from the left and from below
    point: Point
    metric: str

    @property
    def text(self) -> str:
        """What stands beside the star of the best version."""
        epoch = "" if self.point.epoch is None else f" (epoch {self.point.epoch:g})"
        artifact = f"{label(self.point.artifact)}:" if self.point.artifact else ""
        by = self.point.monitor
        if by not in (None, self.metric):
            return f"best {artifact}v{self.point.index} by {label(str(by))}{epoch}"
        return f"best {artifact}v{self.point.index} {metric_text(float(f'{self.y:.4g}'))}{epoch}"


def best_layers(places: Sequence[Place], look: Look) -> list[Spec]:
    """Return the stars, and their texts on a halo that keeps them readable across lines."""
    best = [place for place in places if place.point.is_best]
    layers: list[Spec] = []
    for place, dy in zip(best, _apart(best, look), strict=True):
        is_right = place.at[0] > 0.6
        row = {"x": place.x, "y": place.y, "t": place.text}
        text = {
            "type": "text",
            "align": "right" if is_right else "left",
            "dx": -11 if is_right else 11,
            "dy": dy,
            "fontWeight": 600,
        }
        said = {"text": {"field": "t", "type": "nominal"}}
        halo = {**text, "stroke": look.theme.surface, "strokeWidth": 4, "strokeJoin": "round"}
        star = {
            "type": "point", "shape": _STAR, "size": 230, "filled": True, "opacity": 1,
            "color": look.theme.accent, "stroke": look.theme.surface, "strokeWidth": 1,
        }  # fmt: skip
        data = {"data": {"values": [row]}}
        layers += [
            {**data, "mark": halo, "encoding": dict(said)},
            {**data, "mark": star, "encoding": {}},
            {**data, "mark": text, "encoding": dict(said)},
        ]
    return layers


def _apart(places: Sequence[Place], look: Look) -> list[int]:
    """Return how far below its star each text stands, so that none covers another."""
    taken: list[tuple[float, float]] = []
    found = []
    width = look.width or _USUAL_WIDTH
    for place in places:
        start = place.at[0] * width - (len(place.text) * _WIDTH if place.at[0] > 0.6 else 0)
        sign = 1 if place.at[1] < 0.5 else -1
        for dy in (sign * 15, -sign * 15, sign * 29, -sign * 29):
            middle = (1 - place.at[1]) * look.height * 0.65 + dy
            if all(abs(middle - m) > 15 or abs(start - at) > 200 for at, m in taken):
                break
        taken.append((start, middle))
        found.append(dy)
    return found


@dataclass(frozen=True, slots=True)
class Flags:
    """The texts above a chart, in rows so that none covers another."""

    rows: list[Spec]
    height: int  # pixels above the chart

    @classmethod
    def of(cls, places: Sequence[Place], look: Look) -> Flags:
        """Put the flag of each version in the lowest row with room for it."""
        width = look.width or _USUAL_WIDTH
        ends: list[float] = []
        rows = []
        for place in sorted((p for p in places if p.point.flags), key=lambda p: p.at[0]):
            text = label(", ".join(place.point.flags))
            is_right = place.at[0] > 0.8
            wide = len(text) * _WIDTH + 18
            start = place.at[0] * width * 0.9 - (wide if is_right else 0)
            lane = next((n for n, end in enumerate(ends) if end <= start), len(ends))
            if lane == _MOST_ROWS:
                lane, text = min(range(_MOST_ROWS), key=ends.__getitem__), ""
            end = start + (wide if text else 12)
            ends[lane:] = [end, *ends[lane + 1 :]]
            rows.append({"x": place.x, "t": text, "l": lane, "r": is_right})
        return cls(rows, len(ends) * _ROW + 2)

    def layers(self, look: Look) -> list[Spec]:
        """Return a rule, a flag and a text for each marked version."""
        layers: list[Spec] = []
        for row in self.rows:
            data = {"data": {"values": [row]}}
            top = {"value": -6 - _ROW * row["l"]}
            rule = {"type": "rule", "color": look.theme.muted, "strokeDash": [2, 3], "opacity": 0.7}
            flag = {"type": "point", "shape": _FLAG, "size": 80, "filled": True, "opacity": 1,
                    "color": look.theme.text, "xOffset": 5}  # fmt: skip
            text = {"type": "text", "align": "right" if row["r"] else "left",
                    "dx": -6 if row["r"] else 13, "baseline": "middle"}  # fmt: skip
            said = {"field": "t", "type": "nominal"}
            layers += [
                {**data, "mark": rule, "encoding": {"y": top, "y2": {"value": "height"}}},
                {**data, "mark": flag, "encoding": {"y": top}},
                {**data, "mark": text, "encoding": {"y": top, "text": said}},
            ]
        return layers
