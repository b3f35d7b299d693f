"""The rows of all artifacts, kept until their logs change.

A thread reads the logs that have changed. A page waits for it up to a limit, then shows what is
known. The rows of a large store are also in a file of the user's cache folder, so that the next
server begins with them. Each row is checked against the stamp of its log.

In object storage a look costs requests. So it happens once in 10 seconds, and it asks for a limited
number of logs: those that changed last, and some others in turn.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import KeptError
from kept.names import is_name
from kept.parallel import mapped
from kept.store.log.log import Log
from kept.store.search.stamps import is_current, stamp_before, stamp_of
from kept.web.reading.saved import Held, Saved
from kept.web.reading.standing import Standing, standing_of
from kept.web.reading.versions import read_versions

if TYPE_CHECKING:
    from kept.store.log.log import Logs

PATIENCE = 0.1  # seconds that a page waits for logs
SECONDS = 10.0  # between looks at object storage
MOST_ASKED = 32  # logs in such a look
_ALWAYS = 50  # logs that a page waits for in any case
_BATCH = 16
_LOGS = 128  # in object storage: logs whose pages stay in memory


class Table(NamedTuple):
    """The rows that are known now."""

    standings: dict[str, Standing]  # by name
    unread: int = 0  # artifacts whose rows are missing or outdated


class Standings:
    """The rows of a store. Many threads may use it at once."""

    def __init__(self, logs: Logs, patience: float | None = None) -> None:
        """Take the logs; patience is how long table waits, None for as long as it takes."""
        self._logs, self._patience = logs, patience
        self._saved = Saved(logs)
        self._held: dict[str, Held] | None = None  # None before the first look
        self._names: list[str] = []
        self._pending: dict[str, None] = {}  # to be read, in this order
        self._read_so_far = 0
        self._changed = threading.Condition()
        self._is_reading = False
        self._looked = -SECONDS
        self._turn = 0
        self._open: dict[str, None] = {}  # object storage: logs in memory, the last one used last

    def table(self) -> Table:
        """Return the rows of all artifacts; raises what listing the store raises."""
        names = self._look()
        with self._changed:
            goal = self._read_so_far + _ALWAYS
            self._changed.wait_for(lambda: not self._is_reading, self._patience)
            self._changed.wait_for(
                lambda: not self._pending or not self._is_reading or self._read_so_far >= goal
            )
            held = self._held or {}
            rows = {name: held[name].standing for name in names if name in held}
            unread = len(self._pending)
        return Table({name: row for name, row in rows.items() if row is not None}, unread)

    def _look(self) -> list[str]:
        """List the artifacts, and let the thread read the changed ones; return their names."""
        with self._changed:
            if self._held is None:
                self._held = self._saved.load()
            held = dict(self._held)
        is_remote = self._logs.bucket.is_remote
        is_due = not is_remote or time.monotonic() - self._looked >= SECONDS
        if is_due:
            self._names = self._listed()
            self._looked = time.monotonic()
        names = self._names
        stale = self._stale_far(names, held, is_due=is_due) if is_remote else [
            name for name in names if not self._is_current(name, held.get(name))
        ]  # fmt: skip
        with self._changed:
            for gone in held.keys() - set(names):
                self._held.pop(gone, None)
            self._pending |= dict.fromkeys(stale)
            if self._pending and not self._is_reading:
                self._is_reading = True
                threading.Thread(target=self._read_all, name="kept-page", daemon=True).start()
        return names

    def _listed(self) -> list[str]:
        """Return the artifacts; in a folder also empty folders, which saves a look into each."""
        if self._logs.bucket.is_remote:
            return list(self._logs.names())
        return [name for name in self._logs.bucket.names("artifacts/") if is_name(name)]

    def _is_current(self, name: str, held: Held | None) -> bool:
        return held is not None and is_current(self._logs, name, held.stamp, held.head)

    def _stale_far(self, names: list[str], held: dict[str, Held], *, is_due: bool) -> list[str]:
        """Return the changed ones in object storage, as far as a limited look finds them."""
        known = [name for name in names if name in held]
        stale = [name for name in names if name not in held or self._has_grown(name, held[name])]
        if not is_due:
            return stale
        known.sort(key=lambda name: _time_of(held[name]), reverse=True)
        first, rest = known[: MOST_ASKED // 2], known[MOST_ASKED // 2 :]
        start = self._turn % max(len(rest), 1)
        asked = first + list(itertools.islice(itertools.cycle(rest), start, start + len(rest)))
        asked = asked[:MOST_ASKED]
        self._turn = start + MOST_ASKED - len(first)
        current = mapped(
            lambda name: self._is_current(name, held[name]), asked, self._logs.bucket.concurrency
        )
        return stale + [name for name, same in zip(asked, current, strict=True) if not same]

    def _has_grown(self, name: str, held: Held) -> bool:
        """Return whether this process knows more of a log than the row; costs no request."""
        view = self._logs.of(name).known if name in self._open else None
        return view is not None and view.head > held.head

    def _read_all(self) -> None:
        """Read what is pending, and save it; the thread ends if nothing is."""
        try:
            while self._read_some():
                pass
        except BaseException:
            with self._changed:
                self._is_reading = False
                self._changed.notify_all()
            raise

    def _read_some(self) -> bool:
        """Read some of what is pending; return False if nothing is, before and after saving."""
        batch = self._next_batch()
        if not batch:
            self._saved.save(dict(self._held or {}), self._read_so_far)
            with self._changed:
                self._is_reading = bool(self._pending)
                self._changed.notify_all()
                return self._is_reading
        found = mapped(self._read, batch, self._logs.bucket.concurrency)
        for name, held in zip(batch, found, strict=True):
            self._keep(name, held)
        return True

    def _next_batch(self) -> list[str]:
        with self._changed:
            return list(itertools.islice(self._pending, _BATCH))

    def _keep(self, name: str, held: Held) -> None:
        with self._changed:
            if self._held is not None:
                self._held[name] = held
            self._pending.pop(name, None)
            self._read_so_far += 1
            self._changed.notify_all()

    def _read(self, name: str) -> Held:
        logs = self._logs
        try:
            before = stamp_before(logs, name)
            view = (self._opened(name) if logs.bucket.is_remote else Log(logs, name)).view()
            versions = read_versions(view)
            stamp = stamp_of(logs, name, view.head) if logs.bucket.is_remote else before
            return Held(standing_of(name, versions), stamp, view.head)
        except (KeptError, OSError) as error:
            return Held(Standing(name, damage=[str(error)]), None, 0)

    def _opened(self, name: str) -> Log:
        """Return a log in object storage whose pages stay in memory, unless many others do."""
        with self._changed:
            self._open.pop(name, None)
            self._open[name] = None
            if len(self._open) > _LOGS:
                oldest = next(iter(self._open))
                self._open.pop(oldest)
                self._logs.forget(oldest)
        return self._logs.of(name)


def _time_of(held: Held) -> str:
    return (held.standing and held.standing.updated) or ""
