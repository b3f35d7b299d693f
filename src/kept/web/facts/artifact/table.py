"""The table of an artifact's versions: filtered, sorted, a page of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.errors import InvalidCondition
from kept.store.condition.parse import parse
from kept.store.display.measured import measured_number, saved_at
from kept.store.health.state import STATES, Health, health_of
from kept.web.facts.artifact.chart import STALL, WRITE
from kept.web.facts.artifact.storage import takes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kept.store.log.history import VersionRecord
    from kept.web.facts.artifact.choice import Choice
    from kept.web.facts.artifact.series import Series, Takes

ROWS = 100  # of a page
_METRIC = "metric."  # before a metric in the sort, if a column has its name


class Row(NamedTuple):
    """A version in the table."""

    record: VersionRecord
    metrics: list[float | None]  # of the chosen ones
    epoch: float | None
    takes: Takes
    stall: float | None  # ms
    write: float | None  # ms
    health: Health
    is_mirrored: bool | None  # None if the artifact has no mirror
    saved_at: str | None  # when another program saved it, if it was imported


class Columns(NamedTuple):
    """Which columns have a value in the shown rows."""

    epoch: bool
    new: bool
    shared: bool
    saved: bool
    stall: bool
    write: bool
    health: bool
    mirrored: bool
    saved_at: bool


class Table(NamedTuple):
    """A page of the versions that fit."""

    rows: list[Row]
    fitting: int  # versions on all pages
    total: int  # versions without the filter
    page: int  # from 1
    pages: int
    error: str  # what is wrong with the filter

    @property
    def columns(self) -> Columns:
        """The columns to show; one that is empty takes room for nothing."""
        rows = self.rows
        return Columns(
            any(row.epoch is not None for row in rows),
            any(row.takes.new is not None for row in rows),
            any(row.takes.shared is not None for row in rows),
            any(row.takes.saved for row in rows),
            any(row.stall is not None for row in rows),
            any(row.write is not None for row in rows),
            any(row.health.state is not None for row in rows),
            any(row.is_mirrored is not None for row in rows),
            any(row.saved_at is not None for row in rows),
        )


def table_of(series: Series, choice: Choice, page: int, mirrored: int | None) -> Table:
    """Return a page of the table; mirrored is the newest version that each mirror has."""
    every = [r for r in series.versions.records if r.deleted] if choice.deleted else series.live
    found, error = _fitting(series, every, choice)
    found = _ordered(series, found, choice)
    pages = max(math.ceil(len(found) / ROWS), 1)
    page = min(max(page, 1), pages)
    shown = found[(page - 1) * ROWS : page * ROWS]
    rows = rows_for(series, choice, shown, mirrored)
    return Table(rows, len(found), len(every), page, pages, error)


def rows_for(
    series: Series, choice: Choice, records: Sequence[VersionRecord], mirrored: int | None
) -> list[Row]:
    """Return the rows of versions."""
    takes = takes_of(series, records)
    return [
        Row(
            record,
            [series.metrics(record).get(name) for name in choice.metrics],
            measured_number(record, "epoch"),
            takes[record.index],
            _ms(record, STALL),
            _ms(record, WRITE),
            health_of(record),
            None if mirrored is None else record.index <= mirrored,
            saved_at(record),
        )
        for record in records
    ]


def fitting(series: Series, choice: Choice) -> list[VersionRecord]:
    """Return all versions that fit, in the chosen order; raises InvalidCondition."""
    found, error = _fitting(series, series.live, choice)
    if error:
        raise InvalidCondition(error)
    return _ordered(series, found, choice)


def _fitting(
    series: Series, every: list[VersionRecord], choice: Choice
) -> tuple[list[VersionRecord], str]:
    """Return the versions that fit the condition; all of them if it is wrong, and why."""
    if not choice.where or choice.deleted:
        return every, ""
    try:
        condition = parse(choice.where)
    except InvalidCondition as error:
        return every, str(error)
    return [row.record for row in series.rows if condition.holds(row.values)], ""


def _ordered(series: Series, found: list[VersionRecord], choice: Choice) -> list[VersionRecord]:
    """Return versions in the chosen order; those without the value are last."""
    if choice.sort == "-version":
        return found  # the log has this order
    key = _key(series, choice.sort.removeprefix("-"))
    valued = [(key(record), record) for record in found]
    ranked = [(v, r) for v, r in valued if v is not None and v == v]  # noqa: PLR0124 - NaN
    ranked.sort(key=lambda pair: pair[0], reverse=choice.sort.startswith("-"))
    missing = [r for v, r in valued if v is None or v != v]  # noqa: PLR0124 - NaN
    return [record for _, record in ranked] + missing


def _key(series: Series, name: str) -> Callable[[VersionRecord], Any]:
    own: dict[str, Callable[[VersionRecord], Any]] = {
        "version": lambda record: record.index,
        "created": lambda record: record.created_at,
        "size": lambda record: record.size,
        "epoch": lambda record: measured_number(record, "epoch"),
        "new": lambda record: measured_number(record, "bytes_new"),
        "stall": lambda record: measured_number(record, STALL),
        "write": lambda record: measured_number(record, WRITE),
        "health": _health_rank,
        "deleted": lambda record: record.deleted_at,
    }
    if name in own:
        return own[name]
    metric = name.removeprefix(_METRIC)
    return lambda record: series.metrics(record).get(metric)


def sort_key(metric: str) -> str:
    """Return the name of a metric in the sort of an address."""
    return f"{_METRIC}{metric}"


def _health_rank(record: VersionRecord) -> int | None:
    state = health_of(record).state
    return None if state is None else STATES.index(state)


def _ms(record: VersionRecord, key: str) -> float | None:
    seconds = measured_number(record, key)
    return None if seconds is None else seconds * 1000
