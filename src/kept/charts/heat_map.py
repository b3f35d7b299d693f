"""The heat map of layers and versions: how far each layer has moved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeGuard

from kept.charts.look import USUAL, Look, Spec, framed, labels, titled
from kept.units import metric_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.charts.rows import Cell

_TALLEST = 18  # pixels of a row
_LOWEST = 6
_FARTHEST = 100  # powers of ten of the scale of colours
_LEGIBLE = 10  # the least for a label of each row


def heat_map(cells: Sequence[Cell], title: str, look: Look = USUAL) -> Spec:
    """Return a row for each layer and a column for each version, in the order of the cells.

    The colour is the relative change on a log scale; a layer that did not change is crossed out.
    The height follows the number of layers.
    """
    layers = labels(cell.layer for cell in cells)
    versions = labels(cell.version for cell in cells)
    changes = [c.change for c in cells if _is_shown(c.change)]
    rows = [
        {"l": layers[cell.layer], "v": versions[cell.version], "t": _text(cell.change),
         "c": cell.change if _is_shown(cell.change) else None}
        for cell in cells
    ]  # fmt: skip
    step = max(min(_TALLEST, look.height * 2 // max(len(layers), 1)), _LOWEST)
    rect = {"type": "rect", "stroke": look.theme.surface, "strokeWidth": 0.5}
    axis = {"labelLimit": 240, "ticks": False, "labelOverlap": step < _LEGIBLE}
    notes = [] if len(changes) == len(cells) else ["Crossed out: no change, or not known."]
    return framed(
        Look(look.theme, look.width, step * len(layers)),
        f"{title}: relative change of {len(layers)} layers in {len(versions)} versions",
        autosize={"type": "fit-x", "contains": "padding"},
        title=titled(title, notes),
        data={"values": rows},
        encoding={
            "x": {"field": "v", "type": "nominal", "title": "version", "axis": {"labelAngle": 0},
                  "scale": {"domain": list(versions.values())}},
            "y": {"field": "l", "type": "nominal", "title": None, "axis": axis,
                  "scale": {"domain": list(layers.values())}},
            "tooltip": [
                {"field": "l", "type": "nominal", "title": "layer"},
                {"field": "v", "type": "nominal", "title": "version"},
                {"field": "t", "type": "nominal", "title": "relative change"},
            ],
        },
        layer=[
            {"mark": {**rect, "color": look.theme.grid}, "transform": [{"filter": "!datum.c"}]},
            {"mark": {"type": "point", "shape": "M-1,-1L1,1M-1,1L1,-1", "size": step * step / 9,
                      "color": look.theme.muted, "opacity": 0.6, "strokeWidth": 1},
             "transform": [{"filter": "!datum.c"}]},
            {"mark": rect, "transform": [{"filter": "datum.c"}],
             "encoding": {"color": _colour(changes, step * len(layers))}},
        ],
    )  # fmt: skip


def _colour(changes: list[float], height: int) -> Spec:
    """Return the scale of the colours, between powers of ten."""
    top = math.ceil(math.log10(max(changes, default=1.0)))
    top = max(min(top, _FARTHEST), 1 - _FARTHEST)
    bottom = math.floor(math.log10(min(changes, default=1.0)))
    bottom = max(min(bottom, top - 1), -_FARTHEST)
    powers = range(bottom, top + 1)
    return {
        "field": "c",
        "type": "quantitative",
        "title": "relative change",
        "scale": {
            "type": "log",
            "scheme": "viridis",
            "domain": [float(f"1e{bottom}"), float(f"1e{top}")],
        },
        "legend": {
            "format": ".0e",
            "orient": "right",
            "gradientLength": max(min(height, 160), 60),
            "values": [float(f"1e{power}") for power in powers[:: math.ceil(len(powers) / 6)]],
        },
    }


def _is_shown(change: float | None) -> TypeGuard[float]:
    """Return whether a log scale has a place for a change."""
    return change is not None and change > 0 and math.isfinite(change)


def _text(change: float | None) -> str:
    if change is None:
        return "not known"
    return metric_text(float(f"{change:.4g}")) if change else "none"
