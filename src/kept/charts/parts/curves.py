"""The lines and points of a chart of metrics, and the tooltip of the nearest point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kept.charts.look import DASHES, SHAPES, Look, Spec, Theme

if TYPE_CHECKING:
    from collections.abc import Sequence


class Style(NamedTuple):
    """How the series of a chart differ, by colour and by shape."""

    names: list[str]
    size: int  # of a point; 0 if there are too many to draw
    offset: int  # between the chart and the legend
    theme: Theme

    def by(self, values: Sequence[Any], *, has_legend: bool) -> Spec:
        """Return the encoding of the series by values, one for each, again from the first."""
        legend = None
        if has_legend and len(self.names) > 1:
            symbol = {} if self.size else {"symbolType": "stroke", "symbolSize": 300}
            legend = {"title": None, "offset": self.offset, **symbol}
        known = [values[n % len(values)] for n in range(len(self.names))]
        scale = {"domain": self.names, "range": known}
        return {"field": "s", "type": "nominal", "scale": scale, "legend": legend}


def curves(style: Style, *, hollow: bool) -> list[Spec]:
    """Return the lines, and the points: filled ones, and hollow ones of versions that would go."""
    encoding = {"color": style.by(style.theme.series, has_legend=True)}
    layers = _lines(style, encoding)
    if not style.size and not hollow:
        return layers
    if style.size:
        encoding["shape"] = style.by(SHAPES, has_legend=True)
    mark = {"type": "point", "opacity": 1, "size": style.size or 40}
    if hollow and style.size:
        open_ = {**mark, "filled": False, "fill": style.theme.surface, "strokeWidth": 1.5}
        would_go = [{"filter": "datum.g"}]
        layers.append({"mark": open_, "encoding": dict(encoding), "transform": would_go})
    stay = [{"filter": "!datum.g"}]
    kept = {"mark": {**mark, "filled": True}, "encoding": dict(encoding), "transform": stay}
    return [*layers, kept]


def _lines(style: Style, encoding: Spec) -> list[Spec]:
    """Return the lines; with points a layer for each, so that the legend has no dashes."""
    mark = {"type": "line", "strokeWidth": 1.75, "strokeJoin": "round"}
    encoding = {**encoding, "order": {"field": "n", "type": "quantitative"}}
    if not style.size:
        dash = style.by(DASHES, has_legend=True)
        return [{"mark": mark, "encoding": {**encoding, "strokeDash": dash}}]
    return [
        {
            "mark": {**mark, "strokeDash": DASHES[number % len(DASHES)]},
            "encoding": dict(encoding),
            "transform": [{"filter": f"datum.k === {number}"}],
        }
        for number in range(len(style.names))
    ]


def hover(look: Look) -> Spec:
    """Return points that cannot be seen; the nearest one shows all metrics of its version.

    The tooltip is an object of the data. As titles of fields its names would be parts of an
    expression, and Vega-Lite 6.4 does not escape a backslash before a quote there.
    """
    select = {"type": "point", "on": "pointerover", "nearest": True, "clear": "pointerout"}
    return {
        "params": [{"name": "near", "select": select}],
        "mark": {
            "type": "point",
            "size": 140,
            "strokeWidth": 2,
            "color": look.theme.accent,
            "tooltip": {"expr": "datum.datum ? datum.datum.tip : datum.tip"},
        },
        "encoding": {
            "opacity": {"condition": {"param": "near", "empty": False, "value": 1}, "value": 0},
        },
    }
