"""The comparison of two to five versions: what changed?"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from kept.charts.heat_map import heat_map
from kept.charts.look import CSS, Look
from kept.charts.rows import Cell
from kept.store.health.state import health_of
from kept.web import vega
from kept.web.facts.compare.changes import configs_of, cost_of, heat_of, steps
from kept.web.facts.compare.chosen import MOST, chosen
from kept.web.facts.compare.rows import config_rows, metadata_rows, metric_rows, value_rows
from kept.web.facts.version.facts import aliases_of, provenance_of
from kept.web.page import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.web.facts.compare.changes import Heat
    from kept.web.facts.compare.chosen import Chosen
    from kept.web.query import Query
    from kept.web.reading.reader import Reader

PARTS = ("config", "changes")  # parts that are made only if with= names them
_OFFERED = 200  # names that the form suggests
_CHART = Look(CSS, width=None, is_interactive=True)


def compare_page(reader: Reader, query: Query) -> Page:
    """Return the comparison of the versions that v= names, in their order.

    The address says with=config and with=changes for the parts that read files, as version_page.
    """
    found = chosen(reader, query.all("v"))
    values: dict[str, Any] = {
        "chosen": found,
        "most": MOST,
        "everything": query.get("all") == "1",
        "offered": _offered(reader),
        "steps": None,
        "config": None,
        "vega": vega.file_name(),
    }
    if len(found.entries) < 2:
        return Page("compare.html", "Compare", values)
    title = " · ".join(found.label(entry) for entry in found.entries)
    name = f"{found.entries[0].name}: " if found.is_one_artifact else ""
    values |= _sides(reader, found, everything=values["everything"]) | _parts(reader, found, query)
    return Page("compare.html", f"Compare {name}{title}", values)


def _sides(reader: Reader, found: Chosen, *, everything: bool) -> dict[str, Any]:
    """Return what the records say."""
    entries = found.entries
    origins = [provenance_of(reader, entry.name, entry.record) for entry in entries]
    return {
        "aliases": [aliases_of(reader, entry.record) for entry in entries],
        "healths": [health_of(entry.record) for entry in entries],
        "metrics": metric_rows(entries, everything=everything),
        "metadata": metadata_rows(entries, everything=everything),
        "origins": value_rows(origins, everything=everything),
        "cost": cost_of(reader, entries),
    }


def _parts(reader: Reader, found: Chosen, query: Query) -> dict[str, Any]:
    """Return the parts that the address asks for; the others are None."""
    wanted, values = query.all("with"), dict[str, Any]()
    if "config" in wanted:
        configs = configs_of(reader, found.entries)
        values["config"] = configs if isinstance(configs, str) else config_rows(configs)
    if "changes" in wanted:
        values["steps"] = steps(reader, found.entries)
        values["heat"] = heat_of(values["steps"])
        values["labels"] = [found.label(entry) for entry in found.entries]
        values["heat_map"] = _heat_map(values["heat"], values["labels"])
    return values


def _heat_map(heat: Sequence[Heat], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the chart of layers and steps, none for a single step."""
    names = [f"{one} → {other}" for one, other in itertools.pairwise(labels)]
    if len(names) < 2 or not heat:
        return []
    cells = [Cell(row.layer or "(model)", name, change)
             for row in heat for name, change in zip(names, row.changes, strict=True)]  # fmt: skip
    return [heat_map(cells, "How the network moved", _CHART)]


def _offered(reader: Reader) -> list[str]:
    """Return references that the form suggests."""
    found = []
    for name, standing in reader.table().standings.items():
        if standing.versions:
            best = [f"{name}:best"] if standing.best is not None else []
            found += [f"{name}:latest", *best]
            found += [f"{name}:{alias}" for alias, _ in standing.aliases if alias != "best"]
        if len(found) >= _OFFERED:
            break
    return found[:_OFFERED]
