"""gc: deletes blobs and manifests that no version needs, while other processes write.

docs/format.md ("Deleting what no version needs") has the protocol and why it loses nothing. The
steps of the gc are here, those of writers in log/fence.py. Invariant: gc deletes a key only after
it has stored a list that names the key, and has then put a fence into each log, and only if no
version in the records before the fences needs the key.

It works on a full disk: its writes may use the room that the bucket holds back. If the list of all
keys does not fit, gc deletes in several rounds, each with a list, fences and marks of its own.

The grace is no part of that. It is how long a deletion can be undone, and how old a blob must be to
count as left over, so that versions being written need not begin again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.bucket.reserve import lacks_room
from kept.errors import Damaged, KeptError
from kept.parallel import in_threads
from kept.store.blobs.blob import bases_lock
from kept.store.content.put_manifest import forget_shared
from kept.store.format_marker import check_format
from kept.store.gc.marks import LEFT_OVER, Doomed, FinalDeletions, Marks
from kept.store.gc.names import ArtifactNames
from kept.store.gc.own_list import ABANDONED, Others, OwnList
from kept.store.log.fence import PENDING
from kept.store.log.history import live, version_records
from kept.store.receipts import check_ends
from kept.store.retention.delete import plan_prune, prune

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from kept.bucket.base import Bucket, Item
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Logs, View

_BATCH = 64  # deletions between two checks that the own list still exists
_FEW = 512  # keys in a list of 40 KB, which leaves most of the bucket's reserve to the fences


@dataclass(frozen=True, slots=True)
class Collection:
    """The keys that a gc has deleted or, with dry_run, would delete."""

    doomed: tuple[Doomed, ...]
    expired: tuple[str, ...]  # references of versions that were deleted because they had expired
    young: int  # bytes that no version needs, but younger than the grace
    waiting: int  # versions deleted within the grace, which keep their bytes
    gc: str = ""  # the id in the fences

    @property
    def bytes(self) -> int:
        """Bytes that are freed."""
        return sum(doomed.size for doomed in self.doomed)

    def by_reason(self) -> dict[str, tuple[int, int]]:
        """Return for each reason how many keys are deleted, and how many bytes."""
        found: dict[str, tuple[int, int]] = {}
        for doomed in self.doomed:
            keys, size = found.get(doomed.why, (0, 0))
            found[doomed.why] = (keys + 1, size + doomed.size)
        return found


def collect(logs: Logs, grace: timedelta, *, dry_run: bool) -> Collection:
    """Delete the blobs and manifests that no version needs; see Store.gc."""
    if not _is_store(logs):
        return _NOTHING
    if not dry_run:
        logs.check()
    run = _Run(logs)
    expired = tuple(run.expire(dry_run=dry_run))  # before the lock: it may wait for mirrors
    with _running(run, logs.bucket, dry_run=dry_run):
        doomed, young = run.plan(grace)
        if doomed and not dry_run:
            doomed = run.carry_out(doomed)
        waiting = run.waiting
    return Collection(tuple(doomed), expired, young, waiting)


def collect_ruled_out(logs: Logs, name: str, grace: timedelta) -> Collection:
    """Free the bytes of an artifact's versions that rules have deleted at least grace ago.

    It spares versions that a person has deleted, those of other artifacts, and left-overs.
    """
    if not _is_store(logs):
        return _NOTHING
    logs.check()
    run = _Run(logs)
    with _running(run, logs.bucket):
        doomed, _ = run.plan_ruled_out(name, grace)
        if doomed:
            doomed = run.carry_out(doomed)
        waiting = run.waiting
    return Collection(tuple(doomed), (), 0, waiting, run.id)


_NOTHING = Collection((), (), 0, 0)


def _is_store(logs: Logs) -> bool:
    """Return whether a store exists: it must not begin with the list of a gc."""
    return check_format(logs.bucket).exists


@contextlib.contextmanager
def _running(run: _Run, bucket: Bucket, *, dry_run: bool = False) -> Iterator[None]:
    if dry_run:  # it writes nothing, no lock either: the store may be read-only
        yield
        return
    # No blob gets a base while the lock is held, so the needs of versions stay the same.
    with bucket.spending_reserve(), bases_lock(bucket, wait=True):
        try:
            run.begin()
            yield
        except BaseException:
            run.leave()
            raise
        run.end()


class _Run:
    """One gc; without begin it can only plan, by the clock of this machine."""

    def __init__(self, logs: Logs) -> None:
        self._bucket, self._logs = logs.bucket, logs
        self._list = OwnList(logs.bucket)
        self._names = ArtifactNames(logs)
        self._has_deleted = False
        self._begun = datetime.now(UTC).isoformat()
        self._planned: set[tuple[str, int]] = set()  # versions that count as deleted in a dry run
        self._now = datetime.now(UTC).timestamp()

    def begin(self) -> None:
        """Store the list, still empty: that shows the bucket's own time."""
        self._list.write(())
        stored = self._list.all_keys()
        self._now = stored[self._list.key]
        limit = ABANDONED.total_seconds()
        self._others = Others(self._bucket, stored, self._list.key, limit)

    def expire(self, *, dry_run: bool) -> Iterator[str]:
        """Delete the expired versions, or with dry_run only plan that; yield their references."""
        for name in self._names.look():
            log = self._logs.of(name)
            view = log.view()
            if not any(record.expires for record in live(view.facts())):
                continue
            if dry_run:
                decisions = plan_prune(view, None)
                self._planned.update((name, d.record.index) for d in decisions if not d.keep)
            else:  # the plan reads these deletions from the log: a user may undo one at once
                decisions = prune(log, None)
            yield from (f"{name}:v{d.record.index}" for d in decisions if not d.keep)

    def plan(self, grace: timedelta) -> tuple[list[Doomed], int]:
        """Return what may be deleted, and the bytes that stay because they are young.

        Raises Damaged if a needed manifest cannot be read: the needs of its version are unknown.
        """
        since, oldest = datetime.now(UTC) - grace, self._now - grace.total_seconds()
        unneeded = self._unneeded(FinalDeletions(since))
        return self._doomed(unneeded, {item.key for item in unneeded if item.stored <= oldest})

    def plan_ruled_out(self, artifact: str, grace: timedelta) -> tuple[list[Doomed], int]:
        """Plan as plan does, but only for versions of an artifact that rules have deleted."""
        final = FinalDeletions(datetime.now(UTC) - grace, by_rules_of=artifact)
        unneeded = self._unneeded(final)
        why = self._marks.attribute(item.key for item in unneeded)
        return self._doomed(unneeded, {key for key in why if why[key] != LEFT_OVER})

    def _unneeded(self, final: FinalDeletions) -> list[Item]:
        check_ends(self._logs)
        self._marks = Marks(self._bucket, final)
        names = self._names.look()
        for name in names:
            self._mark(name, self._logs.of(name).view())
        unneeded = list(self._marks.unneeded())
        if unneeded and not names:
            raise Damaged(
                f"{self._bucket.location}: the list of artifacts is empty, although the store has "
                f"{unneeded[0].key}. So gc deletes nothing. Run it again; if that repeats, run "
                "kept repair with a copy of the store."
            )
        return unneeded

    def _doomed(self, unneeded: list[Item], chosen: set[str]) -> tuple[list[Doomed], int]:
        """Return the chosen keys that can be deleted, and the bytes of the other unneeded ones."""
        sizes = {item.key: item.size for item in unneeded if item.key in chosen}
        stay = [item for item in unneeded if item.key not in chosen]
        for base in self._marks.with_bases(i for i in stay if i.key.startswith("blobs/")):
            sizes.pop(base, None)
        why = self._marks.attribute(sizes)
        doomed = [Doomed(key, sizes[key], why[key]) for key in sizes if key in why]
        return doomed, sum(item.size for item in stay)

    @property
    def id(self) -> str:
        """The id of this gc."""
        return self._list.id

    @property
    def waiting(self) -> int:
        """How many deleted versions keep their bytes, by the last plan."""
        return self._marks.waiting

    def carry_out(self, doomed: list[Doomed]) -> list[Doomed]:
        """Condemn, fence, mark again, delete; return the deleted keys."""
        done, spared = 0, set[str]()
        while done < len(doomed):
            part = doomed[done:]
            try:
                self._condemn(part)
            except OSError as error:
                if not lacks_room(error) or len(part) <= _FEW:
                    raise
                self._list.remove()
                # Until a later round, writers may build on its keys, and so on the bases of these.
                doomed = doomed[:done] + self._marks.bases_last(part)
                part = doomed[done : done + _FEW]
                self._condemn(part)
            spared |= self._marks.needed_of(each.key for each in doomed)
            self._delete([each.key for each in part if each.key not in spared])
            done += len(part)
        return [each for each in doomed if each.key not in spared]

    def end(self) -> None:
        """Remove the own list, after all deletions, and the lists of killed gcs.

        A list that cannot be removed does no harm: later it counts as that of a killed gc.
        """
        with contextlib.suppress(OSError, KeptError):
            self._list.remove()
        self._others.remove()

    def leave(self) -> None:
        """Remove the own list if nothing was deleted by it; otherwise it has to stay."""
        if not self._has_deleted:
            with contextlib.suppress(OSError, KeptError):  # the caller raises what failed before
                self._list.remove()

    def _mark(self, name: str, view: View) -> None:
        found = version_records(view.facts())
        self._marks.add(name, (self._as_planned(name, record) for record in found))

    def _as_planned(self, name: str, record: VersionRecord) -> VersionRecord:
        """Return a record, as a deleted one if the plan of a dry run deletes it."""
        if (name, record.index) not in self._planned:
            return record
        return record._replace(deleted=True, deleted_at=self._begun)

    def _fence(self, name: str) -> None:
        log = self._logs.of(name)
        fence = {"event": "alias", "aliases": {}, "gc": self._list.id}
        before = next(view for view in log.views() if log.append_after(view, fence))
        self._mark(name, before)
        self._bucket.delete(PENDING + name)  # the log has a record now

    def _condemn(self, doomed: list[Doomed]) -> None:
        self._list.write(each.key for each in doomed)
        self._list.all_keys()  # a list that lacks the own one says nothing about names either
        for name in self._names.look():
            self._fence(name)

    def _delete(self, keys: list[str]) -> None:
        forget_shared(self._bucket, keys)
        for start in range(0, len(keys), _BATCH):
            self._list.check()
            self._has_deleted = True
            batch = keys[start : start + _BATCH]
            in_threads(self._bucket.delete, batch, self._bucket.concurrency)
