"""Looks at a store while pages are open, and notifies them of what has changed.

One task serves all open pages. It compares the rows of all artifacts with those of its last look.
In a folder a look costs two calls of the file system for each artifact, about once a second. In
object storage it costs a limited number of requests, once in 10 seconds; see standings.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread

from kept.errors import KeptError
from kept.web.facts.store.waiting import waiting
from kept.web.reading.standings import SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kept.sync.live import LiveRun
    from kept.web.facts.store.waiting import Waiting
    from kept.web.reading.reader import Reader
    from kept.web.reading.standing import Standing

_SHARE = 20  # a look takes at most one part in 20 of the time
_MOST_NAMES = 200  # of an event; more of them mean all artifacts
_log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """What a look has found."""

    standings: dict[str, Standing]
    unread: int
    runs: list[LiveRun]
    waiting: list[Waiting]

    def changed_since(self, before: Seen) -> tuple[set[str], bool]:
        """Return the artifacts that have changed, and whether the runs have."""
        names = {
            name
            for name in self.standings.keys() | before.standings.keys()
            if self.standings.get(name) != before.standings.get(name)
        }
        names |= {run.artifact for run in self.runs} ^ {run.artifact for run in before.runs}
        if self.waiting != before.waiting or bool(self.unread) != bool(before.unread):
            names.add("")  # concerns the first page only
        return names, self.runs != before.runs


class _Listener:
    """What an open page has not been sent yet; its size is limited."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.has_runs = False
        self.wakes = asyncio.Event()

    def add(self, names: set[str], *, has_runs: bool) -> None:
        """Add changes to what the page gets next."""
        self.names |= names
        if len(self.names) > _MOST_NAMES or "*" in self.names:
            self.names = {"*"}
        self.has_runs |= has_runs
        if names or has_runs:
            self.wakes.set()

    async def next(self) -> list[dict[str, str]]:
        """Wait for changes; return them as events."""
        await self.wakes.wait()
        self.wakes.clear()
        names, has_runs = sorted(self.names), self.has_runs
        self.names, self.has_runs = set(), False
        events = [{"event": "runs", "data": "{}"}] if has_runs else []
        if names:
            events.append({"event": "change", "data": json.dumps({"artifacts": names})})
        return events


class Notifier:
    """The notifier of a server; it works only while pages are open."""

    def __init__(self, reader: Reader, seconds: float | None = None) -> None:
        """Take the reader; seconds is the least time between looks, None for the usual one."""
        self._reader = reader
        usual = SECONDS if reader.store.bucket.is_remote else 1.0
        self._seconds = usual if seconds is None else seconds
        self._listeners: set[_Listener] = set()
        self._has_looked = asyncio.Event()
        self.task: asyncio.Task[None] | None = None  # None if no page is open

    @property
    def pages(self) -> int:
        """How many pages are open."""
        return len(self._listeners)

    async def events(self) -> AsyncIterator[dict[str, str]]:
        """Yield the events for one page, as long as it is open.

        The first one makes the page catch up with what has changed since it was made.
        """
        listener = _Listener()
        self._listeners.add(listener)
        if self.task is None:
            self._has_looked.clear()
            self.task = asyncio.create_task(self._watch())
        try:
            await self._has_looked.wait()  # what changes from now on is in an event
            yield {"event": "hello", "data": "{}"}
            while True:
                for event in await listener.next():
                    yield event
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self.task is not None:
                self.task.cancel()
                self.task = None

    async def _watch(self) -> None:
        before: Seen | None = None
        has_failed = False
        while True:
            begun = time.monotonic()
            try:
                seen = await anyio.to_thread.run_sync(self._look, abandon_on_cancel=True)
            except (KeptError, OSError) as error:  # the pages say what they find themselves
                _log.debug("the store cannot be read: %s", error)
                if not has_failed:
                    self.notify({"*"}, has_runs=False)
                has_failed = True
            else:
                names, has_runs = seen.changed_since(before) if before else (set(), False)
                self.notify({"*"} if has_failed else names, has_runs=has_runs)
                before, has_failed = seen, False
            self._has_looked.set()
            await asyncio.sleep(max(self._seconds, _SHARE * (time.monotonic() - begun)))

    def notify(self, names: set[str], *, has_runs: bool) -> None:
        """Send all open pages that these artifacts have changed, and whether the runs have."""
        for listener in self._listeners:
            listener.add(names, has_runs=has_runs)

    def _look(self) -> Seen:
        table = self._reader.table()
        waits = waiting(self._reader, table.standings)
        return Seen(table.standings, table.unread, self._reader.runs(), waits)
