"""Answers queries from the index, after a look at each log; builds it again if it is damaged.

The index lies in the user's cache folder, one for each store and machine, because SQLite shares a
file only between processes of one machine. It may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import shutil
import sqlite3
import time
import uuid
from typing import TYPE_CHECKING

from kept.digest import digest
from kept.parallel import mapped
from kept.store.format_marker import known_id
from kept.store.problems import warn
from kept.store.search.cells import value_of
from kept.store.search.database import Database, Known
from kept.store.search.rows import read_log
from kept.store.search.selection import Selection
from kept.store.search.stamps import is_current
from kept.workspace import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.bucket.transfer import Progress
    from kept.store.log.log import Logs
    from kept.store.search.query import Query

_BATCH = 200  # artifacts in a transaction
_ROUNDS = 10  # looks at logs that other processes put into the index at the same moment
_UNUSED = 90 * 24 * 3600.0  # seconds after which the index of a store is removed
_FILE = "index.sqlite"


class NoIndex(Exception):
    """The index cannot be used."""


def index_folder(logs: Logs) -> str:
    """Return the folder of a store's index on this machine."""
    place = f"{known_id(logs.marker)} {logs.bucket.location} {platform.node()}"
    return os.path.join(cache_folder(), "search", digest(place.encode())[:32])


def select(
    logs: Logs, query: Query, wanted: Iterable[str] | None, progress: Progress | None = None
) -> Selection:
    """Return the values of these names, or of all, for each version that a query wants.

    progress is called with the logs read so far and in all, of those that have changed.

    Raises NoIndex if the cache folder cannot be used, even for a new index.
    """
    for attempt in range(2):
        try:
            with Database(os.path.join(_prepared(index_folder(logs)), _FILE)) as database:
                _refresh(database, logs, query, progress)
                return _selected(database, query, wanted)
        except sqlite3.Error as error:
            if attempt or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
                raise NoIndex(str(error)) from error
            discard(logs)  # damaged, or of another kept
        except OSError as error:
            raise NoIndex(str(error)) from error
    raise AssertionError("the second attempt returns or raises")


def _prepared(folder: str) -> str:
    """Make the folder of an index, and note its use; remove those that were not used for long."""
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for entry in os.scandir(os.path.dirname(folder)):
            with contextlib.suppress(OSError):
                if time.time() - entry.stat().st_mtime > _UNUSED:
                    shutil.rmtree(entry.path)
    os.utime(folder)
    return folder


def discard(logs: Logs) -> None:
    """Delete the index of a store; processes that use it keep the files that they have open."""
    folder = index_folder(logs)
    aside = f"{folder}.{uuid.uuid4().hex}"
    with contextlib.suppress(OSError):
        os.rename(folder, aside)  # in one step: a new index never meets an old file beside it
        shutil.rmtree(aside, ignore_errors=True)


def _refresh(database: Database, logs: Logs, query: Query, progress: Progress | None) -> None:
    """Read the logs that have changed into the index; a DamageWarning names each fault."""
    names = query.of_names(logs.names())
    known = database.known()
    if query.name is None and (gone := known.keys() - set(names)):
        database.forget(gone, known)
    stale = _stale(logs, names, known)
    for _ in range(_ROUNDS):
        if not stale:
            break
        raced: list[str] = []
        done = 0
        reads = mapped(lambda name: read_log(logs, name), stale, logs.bucket.concurrency)
        while batch := list(itertools.islice(reads, _BATCH)):
            raced += database.replace(batch, known)
            done += len(batch)
            if progress:
                progress(done, len(stale))
        known = database.known()
        stale = _stale(logs, raced, known)
    else:
        raise NoIndex("other processes replace it without an end")
    for name in names:
        if name in known:
            warn(name, known[name].faults)


def _stale(logs: Logs, names: list[str], known: dict[str, Known]) -> list[str]:
    """Return the artifacts whose logs have changed since they were read."""

    def is_known(name: str) -> bool:
        found = known.get(name)
        return found is not None and is_current(logs, name, found.stamp, found.head)

    current = mapped(is_known, names, logs.bucket.concurrency)
    return [name for name, is_same in zip(names, current, strict=True) if not is_same]


def _selected(database: Database, query: Query, wanted: Iterable[str] | None) -> Selection:
    names = tuple(database.names() if wanted is None else wanted)
    rows = [tuple(map(value_of, cells)) for cells in database.select(query, names)]
    return Selection(names, rows)
