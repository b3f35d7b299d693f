"""Finds versions by a condition, in an order: from the index, or from all logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.parallel import mapped
from kept.store.log.history import VersionRecord
from kept.store.log.lookup import view_of
from kept.store.problems import warn
from kept.store.search.query import ordered
from kept.store.search.rows import Row, read_log
from kept.store.search.selection import Selection, selection_of
from kept.store.search.stamps import has_stamps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.bucket.transfer import Progress
    from kept.store.log.log import Logs
    from kept.store.search.query import Query

_ATTEMPTS = 3  # if a version changes between the search and the look at its log
Found = tuple[str, VersionRecord]  # the artifact, and its version


def search(
    logs: Logs, query: Query, *, use_index: bool = True, progress: Progress | None = None
) -> list[Found]:
    """Return the versions that a query wants, in its order, as their logs state them.

    Each is checked again, so a wrong index cannot show a version that does not fit. Raises
    ArtifactNotFound for a name without a glob, and what reading raises.
    """
    for attempt in range(_ATTEMPTS if use_index else 0):
        rows: Any = select(logs, query, ("artifact", "version"), progress=progress).rows
        found = _looked_up(logs, query, rows)
        if len(found) == len(rows):
            return found
        if attempt and has_stamps(logs.bucket):  # not by a change at the same moment
            _discard(logs)
    return [(row.name, row.record) for row in _scanned(logs, query)]


def select(
    logs: Logs,
    query: Query,
    wanted: Iterable[str] | None = None,
    *,
    use_index: bool = True,
    progress: Progress | None = None,
) -> Selection:
    """Return the values of these names, or of all, for each version that a query wants.

    Raises ArtifactNotFound for a name without a glob.
    """
    if query.name is not None and not query.is_glob:
        view_of(logs, query.name)
    names = None if wanted is None else tuple(wanted)
    if use_index and has_stamps(logs.bucket):
        found = _from_index(logs, query, names, progress)
        if found is not None:
            return found
    return selection_of((row.values for row in _scanned(logs, query)), names)


def _from_index(
    logs: Logs, query: Query, names: tuple[str, ...] | None, progress: Progress | None
) -> Selection | None:
    try:
        from kept.store.search.index import NoIndex, select
    except ImportError:  # a Python without SQLite
        return None
    try:
        return select(logs, query, names, progress)
    except NoIndex:
        return None


def _discard(logs: Logs) -> None:
    from kept.store.search.index import discard

    discard(logs)


def _scanned(logs: Logs, query: Query) -> list[Row]:
    """Return what a query wants from all logs, in its order."""
    names = query.of_names(logs.names())
    fitting: list[Row] = []
    for read in mapped(lambda name: read_log(logs, name), names, logs.bucket.concurrency):
        warn(read.name, read.faults)
        fitting += (row for row in read.rows if query.holds(row.values))
    return ordered(fitting, query)


def _looked_up(logs: Logs, query: Query, keys: list[tuple[str, int]]) -> list[Found]:
    """Return the versions of these artifacts and numbers that fit by their logs, too."""
    wanted: dict[str, set[int]] = {}
    for name, index in keys:
        wanted.setdefault(name, set()).add(index)
    found: dict[tuple[str, int], VersionRecord] = {}
    reads = mapped(
        lambda each: read_log(logs, *each), list(wanted.items()), logs.bucket.concurrency
    )
    for read in reads:
        for row in read.rows:
            if query.holds(row.values):
                found[row.name, row.record.index] = row.record
    return [(key[0], found[key]) for key in keys if key in found]
