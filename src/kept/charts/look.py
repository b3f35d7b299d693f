"""How charts look: colours, shapes, sizes and texts, the same in all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Ubuntu, sans-serif"
LONGEST = 40  # characters of a name in a chart
_LONGEST_TITLE = 80
# Okabe and Ito's colours, which people with any colour vision can distinguish.
_ON_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#5B5B5B")
_ON_DARK = ("#56B4E9", "#E69F00", "#2BC08F", "#CC79A7", "#F0E442", "#6FA8FF", "#BBBBBB")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 3], [4, 2, 1, 2], [3, 5])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "wedge")


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a chart; each is a colour of CSS, in a browser also var(--name)."""

    text: str
    muted: str  # of axes and notes
    grid: str
    surface: str  # behind the chart, which itself is transparent
    accent: str  # of the best version
    series: tuple[str, ...]


LIGHT = Theme("#1f2328", "#59636e", "#e4e7eb", "#ffffff", "#D55E00", _ON_LIGHT)
DARK = Theme("#e6edf3", "#9198a1", "#2b3138", "#0d1117", "#E69F00", _ON_DARK)
# For a page whose background is unknown: grey that can be read on white and on black.
NEUTRAL = Theme(
    "#7d8590",
    "#7d8590",
    "#7d859040",
    "transparent",
    "#D55E00",
    ("#2B8CC4", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#808080"),
)
# For a browser: the page sets --chart-*, and a switch of its theme needs no new drawing.
CSS = Theme(
    "var(--chart-text, #1f2328)",
    "var(--chart-muted, #59636e)",
    "var(--chart-grid, #e4e7eb)",
    "var(--chart-surface, #ffffff)",
    "var(--chart-accent, #D55E00)",
    tuple(f"var(--chart-{number}, {colour})" for number, colour in enumerate(_ON_LIGHT, 1)),
)


@dataclass(frozen=True, slots=True)
class Look:
    """How a chart is drawn."""

    theme: Theme = LIGHT
    width: int | None = 640  # None: as wide as the element of the page
    height: int = 280
    is_interactive: bool = False  # whether the mouse finds the nearest point


USUAL = Look()


def framed(look: Look, description: str, **parts: Any) -> Spec:
    """Return a specification with what all charts have; description is for screen readers."""
    width: int | str = "container" if look.width is None else look.width
    return {
        "$schema": SCHEMA,
        "description": description,
        "background": "transparent",
        "width": width,
        "height": look.height,
        "autosize": {"type": "fit", "contains": "padding"},
        "config": _config(look.theme),
        "usermeta": {"surface": look.theme.surface},
        **parts,
    }


def titled(text: str, notes: Sequence[str] = ()) -> Spec:
    """Return a title, with notes below it."""
    text = label(text, _LONGEST_TITLE)
    return {"text": text, "subtitle": list(notes)} if notes else {"text": text}


def label(text: str, longest: int = LONGEST) -> str:
    """Return a name as charts show it: one line, printable, and not too long."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(shown) > longest:
        head = longest // 2
        shown = f"{shown[:head]}…{shown[len(shown) - (longest - head - 1) :]}"
    return shown or "(empty)"


def labels(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Return the label of each name, no two the same, and none that is taken."""
    used = set(taken)
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        text = shown = label(name)
        number = 2
        while shown in used:
            shown = f"{text} ({number})"
            number += 1
        used.add(shown)
        found[name] = shown
    return found


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 of each power of ten between two positive numbers, or fewer."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{power}") for power in powers for step in steps]
        found = [tick for tick in ticks if low <= tick <= high]
        if len(found) <= 8:
            return found
    return found[:: math.ceil(len(found) / 8)]


def even_ticks(low: float, high: float, most: int) -> list[float]:
    """Return up to `most` multiples of 1, 2 or 5 times a power of ten, from low to high."""
    if not high > low:
        return [low]
    power = math.floor(math.log10((high - low) / most))
    for size in (1, 2, 5, 10, 20):
        step = size * 10.0**power
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < most:
            return [float(f"{n * step:.12g}") for n in range(first, last + 1)]
    return [low, high]


def _config(theme: Theme) -> Spec:
    return {
        "font": FONT,
        "view": {"stroke": None},
        "mark": {"aria": False},  # the description of the chart says it in a sentence
        "title": {
            "color": theme.text, "fontSize": 13, "fontWeight": 600, "anchor": "start",
            "subtitleColor": theme.muted, "subtitleFontSize": 11, "offset": 8,
        },
        "axis": {
            "labelColor": theme.muted, "titleColor": theme.muted, "labelFontSize": 11,
            "titleFontSize": 11, "titleFontWeight": "normal", "gridColor": theme.grid,
            "domain": False, "tickColor": theme.grid, "labelOverlap": True, "labelSeparation": 8,
            "titlePadding": 8,
        },
        "axisY": {"labelSeparation": 1},
        "axisX": {"grid": False, "domain": True, "domainColor": theme.grid},
        "legend": {
            "labelColor": theme.text, "titleColor": theme.muted, "labelFontSize": 11,
            "titleFontSize": 11, "titleFontWeight": "normal", "orient": "top", "offset": 4,
            "symbolStrokeWidth": 2, "symbolDash": [1, 0], "labelLimit": 260, "columns": 3,
        },
        "text": {"color": theme.text, "fontSize": 11},
    }  # fmt: skip


def stacked(specs: Sequence[Spec]) -> Spec:
    """Return several charts as one, below each other; only fixed widths work in it."""
    if len(specs) == 1:
        return specs[0]
    shared = ("$schema", "background", "config", "usermeta")
    own = [{k: v for k, v in s.items() if k not in (*shared, "autosize", "padding")} for s in specs]
    apart = dict.fromkeys(("color", "shape", "strokeDash"), "independent")
    kept = {key: specs[0][key] for key in shared}
    return {**kept, "vconcat": own, "resolve": {"scale": apart, "legend": apart}}
