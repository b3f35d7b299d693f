"""A chart in a line of text: a small SVG of its own, without script and style sheet."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from kept.charts.look import label
from kept.charts.parts.marks import Span
from kept.charts.parts.sample import sampled
from kept.units import metric_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 60  # points
_EDGE = 2.5  # pixels around the line
_RADIUS = 2


def sparkline(
    values: Sequence[float], name: str = "", *, best: int | None = None, width: int = 96
) -> str:
    """Return an inline SVG of values in their order, in the colour of the text around it.

    best is the place of the value that gets a dot. Its title, for screen readers and the mouse, has
    the first and the last value. Without a finite value the text is empty.
    """
    height = 20
    always = [best] if best is not None and math.isfinite(values[best]) else []
    places = sampled(values, _MOST, always)
    if not places:
        return ""
    first, last = values[places[0]], values[places[-1]]
    said = f"{label(name)}: " if name else ""
    title = escape(f"{said}{metric_text(first)} to {metric_text(last)}, {len(values)} versions")
    span = Span.of([values[place] for place in places])
    tall, step = height - 2 * _EDGE, (width - 2 * _EDGE) / max(len(values) - 1, 1)
    at = {
        p: f"{_EDGE + p * step:.1f},{height - _EDGE - span.share(values[p]) * tall:.1f}"
        for p in places
    }
    dots = "".join(_dot(at[place]) for place in always or places[-1:])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="kept-sparkline" role="img" width="{width}"'
        f' height="{height}" viewBox="0 0 {width} {height}"><title>{title}</title>'
        f'<polyline points="{" ".join(at.values())}" fill="none" stroke="currentColor"'
        f' stroke-width="1.5" stroke-linejoin="round" opacity="0.7"/>{dots}</svg>'
    )


def _dot(at: str) -> str:
    x, y = at.split(",")
    return f'<circle cx="{x}" cy="{y}" r="{_RADIUS}" fill="currentColor"/>'
