"""What the address of an artifact's page chooses: metrics, axes, the filter and the order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, get_args

from kept.charts.parts.series import Axes, By
from kept.store.display.measured import measured_number
from kept.store.rank.mode import mode_of

if TYPE_CHECKING:
    from kept.web.facts.artifact.series import Series
    from kept.web.query import Query

MOST_METRICS = 8  # in a chart
_FEW = 8  # metrics whose boxes are shown at once
_USUAL_SORT = "-version"


class Choice(NamedTuple):
    """What a page of an artifact shows."""

    metrics: list[str]
    axes: Axes
    where: str  # a condition as it was typed; empty for none
    sort: str
    deleted: bool  # the deleted versions, not the others

    @property
    def by(self) -> str:
        """The x axis."""
        return self.axes.by


class Metric(NamedTuple):
    """A metric that can be chosen."""

    name: str
    is_chosen: bool


def choice_of(series: Series, query: Query) -> Choice:
    """Return what a query chooses; unknown metrics and words are left out."""
    known = series.metric_names
    asked = [name for name in dict.fromkeys(query.all("m")) if name in known][:MOST_METRICS]
    return Choice(
        asked or _usual_metrics(series),
        Axes(_by(series, query.get("by")), log=query.get("log") in ("1", "on")),
        query.get("where").strip(),
        query.get("sort") or _USUAL_SORT,
        query.get("deleted") == "1",
    )


def metric_boxes(series: Series, chosen: list[str]) -> tuple[list[Metric], list[Metric]]:
    """Return the metrics to choose from: those shown at once, and the others."""
    first = list(dict.fromkeys([*chosen, *series.metric_names[:_FEW]]))
    others = [name for name in series.metric_names if name not in first]
    every = [Metric(name, name in chosen) for name in (*first, *others)]
    return every[: len(first)], every[len(first) :]


def _usual_metrics(series: Series) -> list[str]:
    """Return the metric of best, and the most frequent one that goes up."""
    names = series.metric_names
    first = names[:1]
    rising = (name for name in names[1:] if mode_of(name) == "max")
    held_out = sorted(rising, key=lambda name: not name.startswith(("val_", "test_")))
    return first + held_out[:1]


def _by(series: Series, asked: str) -> By:
    for by in get_args(By):
        if asked == by:
            return by  # type: ignore[no-any-return]  # one of the literals
    has_epochs = any(measured_number(record, "epoch") is not None for record in series.live[:20])
    return "epoch" if has_epochs else "version"
