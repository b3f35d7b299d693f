"""The histogram of the values of a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.charts.look import USUAL, Look, Spec, framed, label, titled
from kept.units import counted, metric_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.charts.rows import Bin


def histogram(
    bins: Sequence[Bin],
    title: str,
    look: Look = USUAL,
    *,
    before: Sequence[Bin] = (),
    notes: Sequence[str] = (),
) -> Spec:
    """Return bars of how many values lie where; before has those of another version, as a line.

    title names the tensor. notes are shown below it, such as "12 values are NaN".
    """
    total = sum(each.amount for each in bins)
    span = f" from {metric_text(bins[0].low)} to {metric_text(bins[-1].high)}" if bins else ""
    name = label(title, 80)
    said = [f"{counted(total, 'value')}{span}", *(["Line: the version before."] if before else [])]
    x: Spec = {"field": "a", "type": "quantitative", "title": "value", "axis": {"grid": False}}
    x["scale"] = {"zero": False, "nice": False}
    y: Spec = {"field": "c", "type": "quantitative", "title": "values in a bar"}
    tips = [
        {"field": "r", "type": "nominal", "title": "from, to"},
        {"field": "t", "type": "nominal", "title": "values"},
    ]
    bars = {
        "data": {"values": list(_rows(bins))},
        "mark": {"type": "bar", "color": look.theme.series[0], "opacity": 0.75, "binSpacing": 1},
        "encoding": {"x": {**x, "bin": "binned"}, "x2": {"field": "b"}, "y": y, "tooltip": tips},
    }
    line = {
        "data": {"values": [*_rows(before), *_end(before)]},
        "mark": {"type": "line", "interpolate": "step-after", "color": look.theme.series[1],
                 "strokeWidth": 1.5},
        "encoding": {"x": x, "y": y},
    }  # fmt: skip
    return framed(
        look,
        f"Histogram of {name}: {said[0]}",
        title=titled(name, [*said, *notes]),
        layer=[bars, line] if before else [bars],
    )


def _rows(bins: Sequence[Bin]) -> Iterator[Spec]:
    for low, high, amount in bins:
        span = f"{metric_text(float(low))}, {metric_text(float(high))}"
        yield {"a": low, "b": high, "c": amount, "r": span, "t": f"{amount:,}"}


def _end(bins: Sequence[Bin]) -> list[Spec]:
    return [{"a": each.high, "c": 0} for each in bins[-1:]]
