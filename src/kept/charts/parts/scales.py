"""The axes of a chart of metrics."""

from __future__ import annotations

import math

from kept.charts.look import Spec, log_ticks
from kept.charts.parts.marks import Span
from kept.charts.parts.series import Axes, Series, drawable, x_of

_FEW = 20  # versions or epochs of an axis with a tick at each


def scales(every: list[Series], axes: Axes, title: str) -> tuple[Spec, Spec]:
    """Return the encodings of x and y."""
    xs = {x_of(point, axes.by) or 0.0 for series in every for point in series.points}
    x: Spec = {"field": "x", "type": "quantitative", "title": axes.by}
    if axes.by == "time":
        x["type"] = "temporal"
    else:
        x["axis"] = {"format": "d"}
        x["scale"] = {"zero": False, "nice": False, "padding": 14}
        if xs and max(xs) - min(xs) <= _FEW:  # the usual ticks have halves
            x["axis"]["values"] = list(range(math.floor(min(xs)), math.ceil(max(xs)) + 1))
        if len(xs) == 1:
            x["scale"] = {"domain": [min(xs) - 1, max(xs) + 1], "nice": False}
    values = [drawable(p.values[s.metric], axes) for s in every for p in s.points]
    span = Span.of([value for value in values if math.isfinite(value)])
    y = {"field": "y", "type": "quantitative", "title": title or None}
    return x, {**y, **_upright(span, is_log=axes.log)}


def _upright(span: Span, *, is_log: bool) -> Spec:
    """Return the scale and the ticks of the y axis."""
    scale: Spec = {"zero": False, "padding": 18}
    axis: Spec = {"tickCount": 6}
    if span.low == span.high:
        room = abs(span.low) / 2 or 1
        scale |= {"domain": [span.low - room, span.high + room]}
    if not is_log:
        return {"scale": scale, "axis": axis}
    ticks = log_ticks(*span) if span.low > 0 else []
    if len(ticks) > 1:
        axis = {"values": ticks}
    return {"scale": {**scale, "type": "log", "nice": False}, "axis": {**axis, "format": "~g"}}
