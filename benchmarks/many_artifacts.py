"""Stores with thousands of artifacts: what it takes to remove them, against listing their files.

A store of logs without content. Listing is os.walk with a stat of each file, as `du` does it, and
it is measured in the same process, before and after.
"""

from __future__ import annotations

import os
import random
import statistics
from pathlib import Path
from typing import Any

from benchmarks.command import version_event
from benchmarks.measure import timed, workspace
from benchmarks.rows import Outcome
from kept.store.encoding import seal, with_small_integers
from kept.store.format_marker import encoded_marker, new_id
from kept.store.log.events import link_to
from kept.store.log.folded import PAGE

ARTIFACTS, VERSIONS = 5000, 100
LISTINGS = 3
LIMIT = 60  # seconds for 5,000 artifacts
LIMIT_RATIO = 25


def measure(*, quick: bool) -> Outcome:
    """Fill a store, list its files, plan a removal, and remove every artifact."""
    import kept

    artifacts, versions = (50, 20) if quick else (ARTIFACTS, VERSIONS)
    outcome = Outcome()
    with workspace() as folder:
        root = os.path.join(folder, "store")
        fill(root, artifacts, versions)
        listings = [timed(lambda: list_files(root)) for _ in range(LISTINGS)]
        store = kept.open_store(root)
        planned = timed(lambda: store.remove_artifacts("run_*", dry_run=True))
        first = timed(lambda: store.remove_artifacts("run_*[02468]"))
        rest = timed(lambda: kept.open_store(root).remove_artifacts("run_*"))
        assert kept.open_store(root).artifacts() == []
    listing = statistics.median(listings)
    what = f"removing {artifacts:,} artifacts of {versions} versions, in two calls"
    outcome.add(f"{what} / listing their files", first + rest, listing, LIMIT_RATIO)
    outcome.add(f"{what}, seconds", first + rest, 1.0, None if quick else LIMIT)
    outcome.add("planning it / listing their files", planned, listing)
    outcome.seconds = {"listing": listing, "planning": planned, "removing": first + rest}
    outcome.raw = {"listing": listings, "removing": [first, rest]}
    return outcome


_DIGITS = 5


def fill(root: str, artifacts: int, versions: int) -> None:
    """Make a store of artifacts run_00000, run_00001, …: their logs and pages, without content."""
    chance = random.Random(0)
    os.makedirs(root)
    Path(root, "kept.json").write_bytes(encoded_marker(store_id=new_id()))
    for number in range(artifacts):
        name = f"run_{number:0{_DIGITS}}"
        events = _events(name, versions, chance)
        folder = os.path.join(root, "artifacts", name)
        os.makedirs(os.path.join(folder, "log"))
        os.makedirs(os.path.join(folder, "state"))
        for event in events:
            _write(os.path.join(folder, "log", f"{event['number']:020d}.json"), seal(event))
        for end in range(PAGE, versions + 1, PAGE):
            page = seal(with_small_integers({"events": events[end - PAGE : end]}))
            _write(os.path.join(folder, "state", f"{end:020d}.json"), page)


def _events(name: str, versions: int, chance: random.Random) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for index in range(versions):
        day, month = 1 + index % 28, 1 + index // 28 % 12
        events.append(
            version_event(index, chance)
            | {
                "artifact": name,
                "number": index + 1,
                "previous": link_to(events[-1]) if events else None,
                "time": f"2026-{month:02}-{day:02}T10:00:00.000000Z",
                "write_id": chance.randbytes(16).hex(),
            }
        )
    return events


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def list_files(root: str) -> int:
    """Return the bytes of all files below a folder."""
    return sum(
        os.stat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(root)
        for name in names
    )
