"""The page: the time to the first byte with 1,000 artifacts, and with 10,000 versions of one.

The stores have logs without content. The requests go through the whole application in this process,
without a network. The pages are asked for in turns, after a first round that is thrown away.
"""

from __future__ import annotations

import os
import statistics
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.many_artifacts import fill
from benchmarks.measure import in_turns, timed, workspace
from benchmarks.rows import Outcome

if TYPE_CHECKING:
    from starlette.testclient import TestClient

ARTIFACTS, VERSIONS = 1000, 20
SHORT, LONG = 100, 10_000
RUNS = 15
FIRST_BYTE = 0.2  # seconds
LIMIT_RATIO = 1.5
PAGES = {
    "the store": "/",
    "its search": "/?q=val_loss+%3C+0.2",
    "the log": "/log/",
    "an artifact": "/artifacts/run_00000/",
    "a version": "/artifacts/run_00000/v3/",
    "a comparison": "/compare/?v=run_00000:v1&v=run_00000:v3",
}


def measure(*, quick: bool) -> Outcome:
    """Fill three stores, ask for each page, and compare a long artifact with a short one."""
    artifacts, long = (50, 500) if quick else (ARTIFACTS, LONG)
    runs = 3 if quick else RUNS
    outcome = Outcome()
    with workspace() as folder:
        os.environ["XDG_CACHE_HOME"] = os.path.join(folder, "cache")
        many, short, large = (os.path.join(folder, name) for name in ("many", "short", "long"))
        fill(many, artifacts, VERSIONS)
        fill(short, 1, SHORT)
        fill(large, 1, long)
        _many(outcome, many, artifacts, None if quick else runs)
        with _client(short) as one, _client(large) as other:
            for client in (one, other):
                _seconds(client, "/artifacts/run_00000/")  # reads the log
            works = {"short": partial(_seconds, one, "/artifacts/run_00000/"),
                     "long": partial(_seconds, other, "/artifacts/run_00000/")}  # fmt: skip
            times = in_turns(works, runs, _nothing)
    middle = {name: statistics.median(each) for name, each in times.items()}
    what = f"the page of an artifact: {long:,} versions / {SHORT} versions"
    outcome.add(what, middle["long"], middle["short"], None if quick else LIMIT_RATIO)
    outcome.seconds |= middle
    outcome.raw |= times
    return outcome


def _many(outcome: Outcome, root: str, artifacts: int, runs: int | None) -> None:
    """Add the time to the first byte of each page, and that of a server's first answer."""
    first = timed(lambda: _answered(root))
    with _client(root) as client:
        client.get("/")
        works = {what: partial(_seconds, client, path) for what, path in PAGES.items()}
        times = in_turns(works, runs or 1, _nothing)
    limit = 1 if runs else None
    for what, each in times.items():
        middle = statistics.median(each)
        outcome.add(f"{what}, {artifacts:,} artifacts / 200 ms", middle, FIRST_BYTE, limit)
        outcome.seconds[what] = middle
    again = timed(lambda: _answered(root))
    outcome.add("a new server's first answer, with rows saved / 200 ms", again, FIRST_BYTE)
    outcome.seconds |= {"first answer, nothing saved": first, "first answer, rows saved": again}
    outcome.raw |= times


def _client(root: str) -> TestClient:
    from starlette.testclient import TestClient

    import kept
    from kept.web.app import make_app

    return TestClient(make_app(kept.open_store(root)), base_url="http://localhost")


def _answered(root: str) -> None:
    with _client(root) as client:
        _seconds(client, "/")


def _seconds(client: TestClient, path: str) -> float:
    """Return how long an answer takes; raises httpx.HTTPStatusError."""
    found = []
    seconds = timed(lambda: found.append(client.get(path)))
    found[0].raise_for_status()
    return seconds


def _nothing() -> None:
    """Do nothing between two pages."""
