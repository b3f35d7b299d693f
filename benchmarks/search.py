"""Searching a store of 10,000 artifacts of 100 versions, against listing its files.

A store of logs without content. The first search builds the index; each other one checks every log
against it, as the search of a new process does. The listing is that of many_artifacts.py.
"""

from __future__ import annotations

import os
import statistics
from functools import partial
from typing import Any

from benchmarks.many_artifacts import fill, list_files
from benchmarks.measure import timed, workspace
from benchmarks.rows import Outcome

ARTIFACTS, VERSIONS = 10_000, 100
RUNS, LISTINGS = 5, 2
LIMIT = 2  # seconds of a search, once the index is built
LIMIT_RATIO = 1
LIMIT_BUILD = 20  # times a listing
SEARCHES: dict[str, dict[str, Any]] = {
    "a condition, an order, 10 versions": {
        "where": "framework = tensorflow and val_accuracy > 0.99", "sort": "val_loss", "limit": 10,
    },
    "the best of a metric": {"sort": "-accuracy", "limit": 10},
    "an alias": {"where": "aliases = epoch_50 and val_loss < 0.001", "limit": 10},
    "one artifact": {"name": "run_00007", "where": "val_loss < 0.5"},
}  # fmt: skip


def measure(*, quick: bool) -> Outcome:
    """Fill a store, list its files, build the index, and search."""
    artifacts, versions = (50, 20) if quick else (ARTIFACTS, VERSIONS)
    outcome = Outcome()
    with workspace() as folder:
        root = os.path.join(folder, "store")
        os.environ["XDG_CACHE_HOME"] = os.path.join(folder, "cache")
        fill(root, artifacts, versions)
        listing = statistics.median(timed(lambda: list_files(root)) for _ in range(LISTINGS))
        build = timed(lambda: _search(root, {"limit": 0}))
        times = {
            what: [timed(partial(_search, root, asked)) for _ in range(RUNS)]
            for what, asked in SEARCHES.items()
        }
    size = f"{artifacts:,} artifacts of {versions} versions"
    outcome.add(
        f"the index of {size} / listing their files", build, listing, None if quick else LIMIT_BUILD
    )
    for what, seconds in times.items():
        middle = statistics.median(seconds)
        outcome.add(
            f"search: {what} / listing their files", middle, listing, None if quick else LIMIT_RATIO
        )
        outcome.add(f"search: {what}, seconds", middle, 1.0, None if quick else LIMIT)
    outcome.seconds = {"listing": listing, "building the index": build}
    outcome.raw = times
    return outcome


def _search(root: str, asked: dict[str, Any]) -> None:
    """Search with a new store object, so that each log is checked."""
    import kept

    kept.open_store(root).search(**asked)
