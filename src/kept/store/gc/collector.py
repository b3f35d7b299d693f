"""gc: deletes blobs and manifests that no version needs, while others write.

The protocol and why it loses nothing are in docs/format.md ("Deleting what no version needs"); the
steps of the collector are here, those of writers in ground.py. Invariant: a key is deleted only
after a list that names it was there, and after that each log has got a fence, and if no version in
the records before the fences needs it.

The grace is no part of that. It is how long a deletion can be taken back, and how old a blob has to
be before it is taken for left over, so that versions being written need not begin again.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import KeptError
from kept.parallel import in_threads
from kept.store.blobs.blob import bases_lock
from kept.store.encoding import canonical
from kept.store.gc.marks import LEFT_OVER, Marks, deleted_by
from kept.store.log.fence import LISTS, PENDING
from kept.store.log.history import live, version_records
from kept.store.retention.delete import plan_prune, prune

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kept.bucket.base import Bucket, Item
    from kept.store.gc.marks import IsOver
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Event, Log, View

    LogOf = Callable[[str], Log]

ABANDONED = timedelta(days=1)  # after that a list is taken for that of a killed gc
_BATCH = 256  # deletions between two looks whether the own list is still there
_AT_ONCE = 8  # deletions, in object storage


class Doomed(NamedTuple):
    """A blob or manifest that no version needs."""

    key: str
    size: int  # bytes, as stored
    why: str


@dataclass(frozen=True, slots=True)
class Collection:
    """What a gc has deleted or, planned only, would delete."""

    doomed: tuple[Doomed, ...]
    expired: tuple[str, ...]  # references of versions that were deleted since they had expired
    young: int  # bytes that nothing needs, and that are younger than the grace
    waiting: int  # versions deleted within the grace, which keep their bytes

    @property
    def bytes(self) -> int:
        """Bytes that become free."""
        return sum(doomed.size for doomed in self.doomed)

    def by_reason(self) -> dict[str, tuple[int, int]]:
        """Return for each reason how many keys go, and how many bytes."""
        found: dict[str, tuple[int, int]] = {}
        for doomed in self.doomed:
            keys, size = found.get(doomed.why, (0, 0))
            found[doomed.why] = (keys + 1, size + doomed.size)
        return found


def collect(bucket: Bucket, log_of: LogOf, grace: timedelta, *, dry_run: bool) -> Collection:
    """Delete what no version needs; see Store.gc."""
    with _run(bucket, log_of) as run:
        expired = tuple(run.expire(dry_run=dry_run))
        doomed, young = run.plan(grace)
        if doomed and not dry_run:
            doomed = run.carry_out(doomed)
        waiting = run.waiting
    return Collection(tuple(doomed), expired, young, waiting)


def collect_ruled_out(bucket: Bucket, log_of: LogOf, name: str, grace: timedelta) -> Collection:
    """Delete what no version needs of those that rules have deleted of an artifact, grace ago.

    Versions that a person has deleted, those of other artifacts, and left-overs are let alone.
    """
    with _run(bucket, log_of) as run:
        doomed, _ = run.plan_ruled_out(name, grace)
        if doomed:
            doomed = run.carry_out(doomed)
        waiting = run.waiting
    return Collection(tuple(doomed), (), 0, waiting)


@contextlib.contextmanager
def _run(bucket: Bucket, log_of: LogOf) -> Iterator[_Run]:
    # No blob gets a base while the lock is held, so what is needed stays what it is.
    with bases_lock(bucket, wait=True):
        run = _Run(bucket, log_of)
        try:
            yield run
        except BaseException:
            run.leave()
            raise
        run.end()


class _Run:
    """One gc. Its list is there from the start, empty at first: it tells the time of the place."""

    def __init__(self, bucket: Bucket, log_of: LogOf) -> None:
        self._bucket, self._log_of = bucket, log_of
        self._id = os.urandom(16).hex()
        self._list = f"{LISTS}{self._id}.json"
        self._is_empty = True
        self._begun = datetime.now(UTC).isoformat()
        self._planned: set[tuple[str, int]] = set()  # versions that a plan takes for deleted
        self._write_list(())
        lists = {item.key: item.stored for item in bucket.items(LISTS)}
        self._now = lists[self._list]
        oldest = self._now - ABANDONED.total_seconds()
        self._abandoned = [key for key, stored in lists.items() if stored < oldest]

    def expire(self, *, dry_run: bool) -> Iterator[str]:
        """Delete the versions that have expired, or take them for that; yield their references."""
        for name in self._names():
            log = self._log_of(name)
            view = log.view()
            if not any(record.expires for record in live(view.backwards())):
                continue
            if dry_run:
                decisions = plan_prune(self._bucket, name, view, None)
                self._planned.update((name, d.record.index) for d in decisions if not d.keep)
            else:  # what is deleted then, the log tells: somebody may take it back at once
                decisions = prune(self._bucket, name, log, None)
            yield from (f"{name}:v{d.record.index}" for d in decisions if not d.keep)

    def plan(self, grace: timedelta) -> tuple[list[Doomed], int]:
        """Return what may go, and the bytes of what is left alone since it is young.

        Raises Damaged if a manifest that is needed cannot be read: what it needs is not known.
        """
        since, oldest = datetime.now(UTC) - grace, self._now - grace.total_seconds()
        unneeded = self._unneeded(lambda _, record: deleted_by(record, since))
        return self._doomed(unneeded, {item.key for item in unneeded if item.stored <= oldest})

    def plan_ruled_out(self, artifact: str, grace: timedelta) -> tuple[list[Doomed], int]:
        """Return what plan does, of the versions of an artifact that rules have deleted."""
        since = datetime.now(UTC) - grace

        def is_over(name: str, record: VersionRecord) -> bool:
            is_due = record.delete_reason is not None and deleted_by(record, since)
            return is_due and name == artifact

        unneeded = self._unneeded(is_over)
        why = self._marks.attribute(item.key for item in unneeded)
        return self._doomed(unneeded, {key for key in why if why[key] != LEFT_OVER})

    def _unneeded(self, is_over: IsOver) -> list[Item]:
        self._marks = Marks(self._bucket, is_over)
        for name in self._names():
            self._mark(name, self._log_of(name).view())
        return list(self._marks.unneeded())

    def _doomed(self, unneeded: list[Item], chosen: set[str]) -> tuple[list[Doomed], int]:
        """Return what goes of the chosen keys, and the bytes of what stays beside them."""
        sizes = {item.key: item.size for item in unneeded if item.key in chosen}
        stay = [item for item in unneeded if item.key not in chosen]
        for base in self._marks.with_bases(i for i in stay if i.key.startswith("blobs/")):
            sizes.pop(base, None)
        why = self._marks.attribute(sizes)
        doomed = [Doomed(key, sizes[key], why[key]) for key in sizes if key in why]
        return doomed, sum(item.size for item in stay)

    @property
    def waiting(self) -> int:
        """How many deleted versions have kept their bytes, by the last plan."""
        return self._marks.waiting

    def carry_out(self, doomed: list[Doomed]) -> list[Doomed]:
        """Condemn, fence, look again, delete; return what was deleted."""
        self._is_empty = False
        self._write_list(each.key for each in doomed)
        for name in self._names():
            self._fence(name)
        needed = self._marks.needed_of(each.key for each in doomed)
        doomed = [each for each in doomed if each.key not in needed]
        for start in range(0, len(doomed), _BATCH):
            self._check_list()
            keys = [each.key for each in doomed[start : start + _BATCH]]
            in_threads(self._bucket.delete, keys, _AT_ONCE if self._bucket.is_remote else 1)
        return doomed

    def end(self) -> None:
        """Take the own list away, all being deleted, and those of the dead."""
        for key in (self._list, *self._abandoned):
            self._bucket.delete(key)

    def leave(self) -> None:
        """Take the own list away if it has never named anything; otherwise it has to stay."""
        if self._is_empty:
            self._bucket.delete(self._list)

    def _names(self) -> list[str]:
        """Return the artifacts, and those that are just being made."""
        new = (key.removeprefix(PENDING) for key in self._bucket.keys(PENDING))
        return sorted({*self._bucket.folders("artifacts/"), *new})

    def _mark(self, name: str, view: View) -> None:
        found = version_records(view.backwards())
        self._marks.add(name, (self._as_deleted(name, record) for record in found))

    def _as_deleted(self, name: str, record: VersionRecord) -> VersionRecord:
        """Return an record as it would be if the plan's expired versions were deleted."""
        if (name, record.index) not in self._planned:
            return record
        return record._replace(deleted=True, deleted_at=self._begun)

    def _fence(self, name: str) -> None:
        before: list[View] = []

        def make(view: View) -> Event:
            before[:] = [view]
            return {"event": "alias", "aliases": {}, "gc": self._id}

        self._log_of(name).append(make)
        self._mark(name, before[0])
        self._bucket.delete(PENDING + name)  # the log has a record now

    def _write_list(self, keys: Iterable[str]) -> None:
        self._bucket.put(self._list, [canonical({"keys": list(keys)})])

    def _check_list(self) -> None:
        if self._bucket.size(self._list) is None:
            raise KeptError(
                f"Another gc has taken this one for dead, after {ABANDONED.days} day. What it has "
                "not deleted, the next one deletes: run kept gc again."
            )
