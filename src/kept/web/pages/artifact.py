"""The page of an artifact: how did it go, and which version do I take?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kept.charts import render
from kept.errors import InvalidInput
from kept.names import parse_reference
from kept.web import vega
from kept.web.facts.artifact.chart import MetricCharts, storage_chart, times_chart
from kept.web.facts.artifact.choice import choice_of, metric_boxes
from kept.web.facts.artifact.series import mirrored_up_to, series_of
from kept.web.facts.artifact.sheet import sheet
from kept.web.facts.artifact.storage import stored_rows
from kept.web.facts.artifact.table import sort_key, table_of
from kept.web.facts.artifact.whatif import whatif_of
from kept.web.page import Download, Page, Redirect
from kept.web.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.web.facts.artifact.choice import Choice
    from kept.web.facts.artifact.series import Series
    from kept.web.facts.artifact.table import Table
    from kept.web.facts.artifact.whatif import WhatIf
    from kept.web.reading.reader import Reader

_SVG = "image/svg+xml"
_COMPARED = range(2, 6)  # versions of a comparison
_ACTIONS = ("delete", "undelete")  # of all selected versions
_OF_ONE = ("tag", "alias")


class Shown(NamedTuple):
    """An artifact, and what the address chooses of it."""

    series: Series
    choice: Choice
    whatif: WhatIf


def artifact_page(reader: Reader, query: Query, name: str) -> Page:
    """Return the page of an artifact."""
    shown = _shown(reader, query, name)
    series, choice = shown.series, shown.choice
    mirrored = mirrored_up_to(reader, name)
    table = table_of(series, choice, query.number("page", 1, least=1), mirrored)
    boxes, more = metric_boxes(series, choice.metrics)
    values = {
        "series": series,
        "choice": choice,
        "table": table,
        "boxes": boxes,
        "more_boxes": more,
        "sort_keys": {metric: sort_key(metric) for metric in choice.metrics},
        "whatif": shown.whatif,
        "charts": MetricCharts(series, choice, shown.whatif.doomed),
        "extra_charts": _extra_charts(table, choice),
        "protected": frozenset(reader.protected()),
        "deleted": len(series.versions.records) - len(series.live),
        "vega": vega.file_name(),
    }
    return Page("artifact.html", name, values)


def artifact_charts(reader: Reader, query: Query, name: str) -> dict[str, Any]:
    """Return the charts of the page for a browser, and what they show in words."""
    shown = _shown(reader, query, name)
    charts = MetricCharts(shown.series, shown.choice, shown.whatif.doomed)
    return {"charts": charts.specs if shown.choice.metrics else [], "summary": charts.summary}


def artifact_svg(reader: Reader, query: Query, name: str) -> Download:
    """Return the chart of the page as a picture of shapes."""
    return Download(f"{name}.svg", _SVG, render.svg(_figure(reader, query, name)).encode())


def artifact_png(reader: Reader, query: Query, name: str) -> Download:
    """Return the chart of the page as a picture of pixels."""
    return Download(f"{name}.png", "image/png", render.png(_figure(reader, query, name)))


def artifact_sheet(reader: Reader, query: Query, name: str) -> Download:
    """Return the versions that fit as CSV."""
    shown = _shown(reader, query, name)
    mirrored = mirrored_up_to(reader, name)
    text = sheet(shown.series, shown.choice, mirrored)
    return Download(f"{name}.csv", "text/csv; charset=utf-8", text.encode())


def artifact_whatif(reader: Reader, query: Query, name: str) -> dict[str, Any]:
    """Return which versions the rules in the address would delete, and the bytes that come back."""
    found = _shown(reader, query, name).whatif
    return {
        "error": found.error or None,
        "text": found.text,
        "delete": found.button or None,
        "versions": {f"v{index}": reason for index, reason in (found.reasons or {}).items()},
        "freed": found.freed.size,
        "exact": found.freed.is_exact,
    }


def selected_versions(reader: Reader, query: Query, name: str) -> Redirect:
    """Return the page that does something with the selected versions; raises InvalidInput."""
    series_of(reader, name)
    chosen = [f"{name}:{text}" for text in dict.fromkeys(query.all("select"))]
    for reference in chosen:
        parse_reference(reference)
    what = query.get("do", "compare")
    if what == "compare":
        if len(chosen) not in _COMPARED:
            raise InvalidInput(
                f"Select 2 to 5 versions to compare. Received: {len(chosen)}. Go back to select "
                "them."
            )
        return Redirect("compare/", Query().but(v=chosen))
    if what not in (*_ACTIONS, *_OF_ONE):
        names = ", ".join((*_ACTIONS, *_OF_ONE))
        raise InvalidInput(f"do is compare, {names}. Received: {what[:80]!r}")
    if not chosen:
        raise InvalidInput("No version is selected. Go back, and select one or more.")
    if what in _OF_ONE and len(chosen) > 1:
        raise InvalidInput(
            f"Select one version for {what}. Received: {len(chosen)}. Go back to select it."
        )
    return Redirect(f"actions/{what}", Query().but(ref=chosen))


def _shown(reader: Reader, query: Query, name: str) -> Shown:
    series = series_of(reader, name)
    whatif = whatif_of(reader, series, query)
    return Shown(series, choice_of(series, query), whatif)


def _figure(reader: Reader, query: Query, name: str) -> dict[str, Any]:
    shown = _shown(reader, query, name)
    if not shown.choice.metrics:
        raise InvalidInput(f"{name} has no metric, so no chart can be drawn.")
    return MetricCharts(shown.series, shown.choice, shown.whatif.doomed).figure


def _extra_charts(table: Table, choice: Choice) -> dict[str, dict[str, Any]]:
    """Return the charts below the table, about the versions in it."""
    records = sorted((row.record for row in table.rows), key=lambda record: -record.index)
    takes = {row.record.index: row.takes for row in table.rows}
    stored = stored_rows(takes, records)
    found = {"storage": storage_chart(stored)} if stored and not choice.deleted else {}
    times = times_chart(records[::-1], choice.axes)
    return found | ({"times": times} if times else {})


VIEWS: dict[str, Callable[..., Page | Download | Redirect | dict[str, Any]]] = {
    "": artifact_page,
    "chart.json": artifact_charts,
    "chart.svg": artifact_svg,
    "chart.png": artifact_png,
    "table.csv": artifact_sheet,
    "whatif.json": artifact_whatif,
    "selected": selected_versions,
}
