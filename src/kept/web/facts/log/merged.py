"""The changes of all artifacts, newest first. A log is opened only when its turn comes.

The rows of the first page say when each artifact changed last. So a page of the log reads the logs
of those artifacts only that have changes on it.
"""

from __future__ import annotations

import heapq
from datetime import datetime
from typing import TYPE_CHECKING

from kept.store.promotion.history import changes_of, protection_changes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.promotion.history import Change
    from kept.web.reading.reader import Reader
    from kept.web.reading.standing import Standing


def merged(
    reader: Reader, standings: dict[str, Standing], until: datetime | None = None
) -> Iterator[Change]:
    """Yield the changes of all artifacts and of the store, newest first; of one time, by artifact.

    With until, only those of that time and older; a log that has changed since is read from its
    end, too.
    """
    others = frozenset(standings)
    # Negative times: the heap gives the smallest one. The number decides between equal ones.
    queue: list[tuple[float, str, int, Change | None]] = [
        (_last(row, until), name, 0, None) for name, row in standings.items()
    ]
    heapq.heapify(queue)
    open_logs: dict[str, Iterator[Change]] = {}
    own = iter(protection_changes(reader.store.logs))
    open_logs[""] = own
    _push(queue, "", own, until)
    while queue:
        _, name, _, change = heapq.heappop(queue)
        if change is None:
            open_logs[name] = changes_of(reader.view(name), others)
        else:
            yield change
        _push(queue, name, open_logs[name], until)


def of_one(reader: Reader, name: str, until: datetime | None = None) -> Iterator[Change]:
    """Yield the changes of one artifact, newest first."""
    return (c for c in changes_of(reader.view(name)) if until is None or c.time <= until)


def _last(row: Standing, until: datetime | None) -> float:
    """Return when a log can have its next change, as a negative number."""
    if row.updated is None:
        return 0.0 if until is None else -until.timestamp()
    moment = datetime.fromisoformat(row.updated)
    return -(min(moment, until) if until else moment).timestamp()


def _push(
    queue: list[tuple[float, str, int, Change | None]],
    name: str,
    changes: Iterator[Change],
    until: datetime | None,
) -> None:
    for change in changes:
        if until is None or change.time <= until:
            heapq.heappush(queue, (-change.time.timestamp(), name, 1, change))
            return
