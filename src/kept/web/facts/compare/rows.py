"""What the records of versions say, side by side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.store.diff.values import MEASURED, differences, metrics_of
from kept.store.health.state import FINDINGS, NORM, STATE
from kept.store.rank.values import finite
from kept.web.facts.version.metadata import flat
from kept.web.facts.version.metrics import mode_in, repeats_data_set

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kept.store.encoding import Json
    from kept.store.log.history import VersionRecord
    from kept.web.facts.compare.chosen import Entry

MOST = 150  # rows of a table
MISSING = object()
_ADDRESS = ".shared_object_id"  # Keras writes an address of the memory: another one in each process
_ELSEWHERE = {"metrics", STATE, FINDINGS, NORM}  # metadata that the page shows in other places
_LAST = frozenset(("epoch", "batch", "step", "value"))  # they nearly always differ


class Cell(NamedTuple):
    """A value of one version."""

    value: Any  # MISSING if the version has none
    differs: bool  # from that of the first version
    is_best: bool = False  # of a metric, among all
    change: float | None = None  # of a metric, against the first version
    is_better: bool | None = None  # than the first version

    @property
    def is_missing(self) -> bool:
        """Whether the version has no such value."""
        return self.value is MISSING


class Row(NamedTuple):
    """A value of all versions."""

    key: str
    cells: list[Cell]

    @property
    def differs(self) -> bool:
        """Whether the versions have not all the same value."""
        return any(cell.differs for cell in self.cells)


class Rows(NamedTuple):
    """The rows of a table, as far as they are shown."""

    rows: list[Row]
    equal: int  # rows with the same value in all versions
    hidden: int  # rows that are too many

    @property
    def total(self) -> int:
        """All rows."""
        return len(self.rows) + self.hidden


def metric_rows(entries: Sequence[Entry], *, everything: bool) -> Rows:
    """Return the metrics of versions, those of the save and those that were logged later."""
    found = [metrics_of(entry.record) for entry in entries]
    monitors = [m for e in entries if isinstance(m := e.record.metadata.get("monitor"), str)]
    names = dict.fromkeys(name for each in [monitors, *found] for name in each)
    rows = [
        _metric_row(name, entries, [each.get(name, MISSING) for each in found])
        for name in names
        if any(name in each and not repeats_data_set(name, each) for each in found)
    ]
    return _shown(rows, everything=everything)


def metadata_rows(entries: Sequence[Entry], *, everything: bool) -> Rows:
    """Return the metadata of versions without the metrics, and the tags and descriptions.

    What each save measures, such as its duration, is left out unless all values are wanted.
    """
    said = [_said(entry.record) for entry in entries]
    if not everything:
        said = [{key: v for key, v in each.items() if key not in MEASURED} for each in said]
    return _value_rows(said, everything=everything)


def value_rows(values: Sequence[dict[str, Json]], *, everything: bool) -> Rows:
    """Return nested values side by side."""
    return _value_rows(list(values), everything=everything)


def config_rows(configs: Sequence[dict[str, Json]]) -> Rows:
    """Return where configurations of models differ from the first; layers are found by name."""
    first, *others = configs
    found = [{c.key: c for c in differences(first, other)} for other in others]
    rows = []
    for key in dict.fromkeys(key for each in found for key in each):
        if key.endswith(_ADDRESS):
            continue
        known = next(each[key] for each in found if key in each)
        before = MISSING if known.kind == "added" else known.before
        cells = [Cell(before, differs=False)]
        for each in found:
            change = each.get(key)
            after = before if change is None else change.after
            gone = change is not None and change.kind == "removed"
            cells.append(Cell(MISSING if gone else after, differs=change is not None))
        rows.append(Row(key, cells))
    return Rows(rows[:MOST], 0, max(len(rows) - MOST, 0))


def _said(record: VersionRecord) -> dict[str, Json]:
    said = record.described
    keys = sorted((key for key in said if key not in _ELSEWHERE), key=_LAST.__contains__)
    found: dict[str, Json] = {}
    if record.changes.description is not None:
        found["description"] = record.changes.description
    if record.changes.tags:
        found["tags"] = list(record.changes.tags)
    return found | {key: said[key] for key in keys}


def _value_rows(values: list[dict[str, Json]], *, everything: bool) -> Rows:
    maps = [{row.path: row.value for row in flat(each)} for each in values]
    keys = dict.fromkeys(key for each in maps for key in each)
    rows = [Row(key, _cells([each.get(key, MISSING) for each in maps])) for key in keys]
    return _shown(rows, everything=everything)


def _cells(values: Sequence[Any]) -> list[Cell]:
    first = _text(values[0])
    return [Cell(value, differs=_text(value) != first) for value in values]


def _metric_row(name: str, entries: Sequence[Entry], values: list[Any]) -> Row:
    modes = (mode_in(entry.record, name) for entry in entries)
    mode = next((mode for mode in modes if mode), None)
    numbers = [None if value is MISSING else finite(value) for value in values]
    known = [number for number in numbers if number is not None]
    best = None
    if mode and len(set(known)) > 1:
        best = min(known) if mode == "min" else max(known)
    cells = []
    for cell, number in zip(_cells(values), numbers, strict=True):
        change = None if number is None or numbers[0] is None else number - numbers[0]
        better = (change < 0) == (mode == "min") if change and mode else None
        is_best = number is not None and number == best
        cells.append(cell._replace(is_best=is_best, change=change, is_better=better))
    return Row(name, cells)


def _shown(rows: Iterable[Row], *, everything: bool) -> Rows:
    every = list(rows)
    equal = sum(not row.differs for row in every)
    wanted = every if everything else [row for row in every if row.differs]
    return Rows(wanted[:MOST], equal, max(len(wanted) - MOST, 0))


def _text(value: Any) -> str:
    """Return a text that is the same for equal values of JSON: true is not 1, and NaN is NaN."""
    return "" if value is MISSING else json.dumps(value, sort_keys=True, default=str)
