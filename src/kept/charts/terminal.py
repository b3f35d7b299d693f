"""A chart of metrics as text, for a terminal.

This is the one module that imports plotext.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kept.charts.look import even_ticks, log_ticks
from kept.charts.metrics import notes_of, places_of
from kept.charts.parts.marks import Span
from kept.charts.parts.series import BY_EPOCH, Axes, Series, all_series, drawable, x_of
from kept.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.charts.rows import Point

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_POINTS = "●■▲◆▼✚✖"
_HOLLOW = "○□△◇▽+x"
_STAR = "★"
_IN_ASCII = str.maketrans(
    {"│": "|", "─": "-", "┤": "|", "├": "|", "…": "~", _STAR: "!"}
    | dict.fromkeys("┌┐└┘┬┴┼", "+")
    | dict(zip(_POINTS + _HOLLOW, "*#^&v%@" + "oq/<>+x", strict=True))
)
_COLOURS = [39, 214, 36, 175, 227, 117, 250]  # of 256, near those of Okabe and Ito
_ACCENT = 202
_LEAST = 30  # columns
_MOST_TICKS = 6  # of the values
_ROOMY = 3  # columns for each point that is drawn


@dataclass(frozen=True, slots=True)
class Terminal:
    """What a terminal can show."""

    width: int = 80
    height: int = 18
    has_colour: bool = False
    is_ascii: bool = False


def draw(
    points: Sequence[Point],
    metrics: Sequence[str],
    axes: Axes = BY_EPOCH,
    terminal: Terminal = Terminal(),
) -> str:
    """Return a chart as lines of text, none wider than the terminal.

    Raises InvalidInput without plotext.
    """
    every = all_series(points, metrics, axes)
    figure = _drawn(every, axes, terminal)
    lines = [line.rstrip() for line in figure.splitlines()]
    if not terminal.has_colour:
        lines = [_ESCAPE.sub("", line).rstrip() for line in lines]
    has_points = all(_has_room(series, terminal) for series in every)
    head = [_legend(every, terminal), *notes_of(every, axes, points, has_points=has_points)]
    best = [place for place in places_of(every, axes) if place.point.is_best]
    head += [f"{_STAR} {place.text}" for place in best]
    text = "\n".join([*head, *lines])
    return text.translate(_IN_ASCII) if terminal.is_ascii else text


def _legend(every: list[Series], terminal: Terminal) -> str:
    texts = []
    for number, series in enumerate(every):
        sign = _POINTS[number % len(_POINTS)]
        if terminal.has_colour:
            sign = f"\x1b[38;5;{_COLOURS[number % len(_COLOURS)]}m{sign}\x1b[0m"
        texts.append(f"{sign} {series.name}")
    lines = [texts[0]] if texts else []
    for text in texts[1:]:
        joined = f"{lines[-1]}   {text}"
        if len(_ESCAPE.sub("", joined)) <= terminal.width:
            lines[-1] = joined
        else:
            lines.append(text)
    return "\n".join(lines)


def _drawn(every: list[Series], axes: Axes, terminal: Terminal) -> str:
    """Return the chart of plotext, with the escapes of colours."""
    plotext = _library()
    figure = plotext.figure
    figure.clear.all()
    figure.theme("colorless")
    width = max(terminal.width, _LEAST)
    figure.plot_size(width, terminal.height)
    values = [drawable(p.values[s.metric], axes) for s in every for p in s.points]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    _y_ruler(figure.ruler("y", 0), Span.of(finite), axes, terminal.height - 4)
    _x_ruler(figure.ruler("x", 0), every, axes, width)
    figure.label(axes.by, "x")
    for number, series in enumerate(every):
        _draw_series(plotext, number, series, (axes, terminal))
    return str(figure.build())


def _draw_series(plotext: Any, number: int, series: Series, how: tuple[Axes, Terminal]) -> None:
    axes, terminal = how
    colour = _COLOURS[number % len(_COLOURS)]
    shown = [p for p in series.points if math.isfinite(drawable(p.values[series.metric], axes))]
    figure = plotext.figure

    def add(points: Sequence[Point], sign: str, pixel: int, *, lines: bool = False) -> None:
        xs = [x_of(point, axes.by) for point in points]
        ys = [_height(point.values[series.metric], axes) for point in points]
        signal = figure.signal(xs, ys, marker=plotext.marker(sign, pixel))
        figure.draw(signal.lines(active=lines))

    add(shown, "." if terminal.is_ascii else "braille", colour, lines=True)
    is_roomy = _has_room(series, terminal)
    for signs, hollow in ((_HOLLOW, True), (_POINTS, False)):
        of_kind = [point for point in shown if point.would_go is hollow]
        if of_kind and (is_roomy or (not hollow and len(of_kind) < len(shown))):
            add(of_kind, signs[number % len(signs)], colour)
    best = [p for p in shown if p.is_best and p.monitor in (None, series.metric)]
    if best:
        add(best, _STAR, _ACCENT)


def _has_room(series: Series, terminal: Terminal) -> bool:
    """Return whether each version can have a point of its own."""
    return len(series.points) * _ROOMY <= terminal.width


def _height(value: float, axes: Axes) -> float:
    return math.log10(value) if axes.log else value


def _y_ruler(ruler: Any, span: Span, axes: Axes, rows: int) -> None:
    ticks = log_ticks(*span) if axes.log else []
    if len(ticks) < 2:
        ticks = even_ticks(*span, _MOST_TICKS)
    low, high = _height(span.low, axes), _height(span.high, axes)
    room = (high - low) * 0.08 or abs(low) / 2 or 1
    ruler.lim(low - room, high + room)
    least = (high - low + 2 * room) / (rows - 1) * 1.5  # two ticks of one row cover each other
    shown: list[float] = []
    for tick in ticks:
        if not shown or _height(tick, axes) - _height(shown[-1], axes) >= least:
            shown.append(tick)
    ruler.ticks([_height(tick, axes) for tick in shown], [f"{tick:.4g}" for tick in shown])


def _x_ruler(ruler: Any, every: list[Series], axes: Axes, width: int) -> None:
    xs = sorted({x_of(point, axes.by) or 0.0 for series in every for point in series.points})
    most = max(width // (16 if axes.by == "time" else 9), 2)
    if axes.by == "time":
        ticks = [xs[0] + n * (xs[-1] - xs[0]) / (most - 1) for n in range(most)]
    else:
        ticks = [tick for tick in even_ticks(xs[0], xs[-1], most) if tick == int(tick)]
    ruler.ticks(ticks, [_tick(tick, axes) for tick in ticks])
    room = (xs[-1] - xs[0]) * 0.02 or 1
    ruler.lim(xs[0] - room, xs[-1] + room)


def _tick(x: float, axes: Axes) -> str:
    if axes.by != "time":
        return f"{x:g}"
    return f"{datetime.fromtimestamp(x).astimezone():%m-%d %H:%M}"


def _library() -> Any:
    try:
        import plotext
    except ImportError as error:
        raise InvalidInput(
            "Charts in a terminal need plotext. Install it: pip install 'kept[plot]'. "
            f"The import failed with: {error}"
        ) from None
    if not hasattr(plotext, "figure"):
        raise InvalidInput("plotext is too old: pip install --upgrade 'kept[plot]'")
    return plotext
