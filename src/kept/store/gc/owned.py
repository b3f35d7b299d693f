"""The gc of one artifact: it neither reads nor writes the log of another one.

Who needs a blob is in the manifests: each writer stores its manifest, then lists gc/ again, and
only then creates its record. docs/format.md ("The collector of one artifact") has the protocol and
why it loses nothing. Everything else waits for the gc in collector.py.

It frees only what this process itself has stored, because that needs no look at older manifests,
and nothing any more once another gc has put a fence into the log of the artifact: what that one has
freed may have been stored again by a writer of another artifact.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.digest import digest
from kept.errors import Damaged, KeptError, KeyExists, KeyNotFound
from kept.parallel import in_threads, mapped
from kept.store.blobs.blob import bases_lock, blob_key
from kept.store.content.manifest import manifest_key
from kept.store.content.put_manifest import shared_key
from kept.store.content.read_manifest import decode_manifest
from kept.store.encoding import MOST_VALUE, again_if_damaged, read_bounded
from kept.store.gc.choice import Choice
from kept.store.gc.marks import FinalDeletions, is_manifest
from kept.store.gc.own_list import ABANDONED, Others, OwnList
from kept.store.gc.pinned import Bases
from kept.store.log.events import is_fence
from kept.store.log.fence import marked_blob, round_key, round_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta

    from kept.store.log.log import Logs, View

_YOUNG = 60.0  # seconds; times of storing are cut to seconds, and a clock can be set a little
END = "manifests/z-"  # and a random name: the last key of a list of manifests
_BATCH = 64  # deletions between two checks that the own list still exists

Keys = tuple[str, ...]


class OwnedBlobs:
    """The blobs that this process has stored for one artifact, and how it frees them."""

    def __init__(self, logs: Logs, name: str) -> None:
        self._logs, self._log, self._bucket = logs, logs.of(name), logs.bucket
        self._before: dict[str, float] | None = None  # manifests that were in place, and times
        self._blobs: set[str] = set()  # that were missing after that, and were stored then
        self._mine: set[str] = set()  # manifests of the versions that were committed after that
        self._seen = 0  # the record of the artifact up to which no fence of another gc counts
        self._gcs: set[str] = set()  # of this process
        self._contents: dict[str, Keys] = {}  # the blobs of manifests that were read
        self._bases = Bases(self._bucket)

    def committed(self, manifest: str, written: Iterable[str]) -> None:
        """Note what a commit of this process has stored; costs a listing the first time."""
        if self._before is not None:
            self._blobs.update(map(blob_key, written))
            self._mine.add(manifest_key(manifest))
            return
        with contextlib.suppress(OSError, KeptError):  # the next commit tries again
            self._seen = (self._log.known or self._log.view()).head
            found = self._manifests()
            newest = max(found.values(), default=0.0)
            self._before = {k: at for k, at in found.items() if at < newest - _YOUNG}

    def owns(self, manifests: Iterable[str]) -> bool:
        """Return whether this process has committed all these manifests, and no other gc came."""
        if self._is_fenced(self._log.view()):
            return False
        return self._mine.issuperset(map(manifest_key, manifests))

    def freed(self, gc: str, keys: Iterable[str]) -> None:
        """Note what another kind of gc of this process has deleted."""
        self._gcs.add(gc)
        self._forget(keys)

    def collect(self, grace: timedelta) -> int:
        """Free the versions that rules have deleted at least grace ago; return the deleted keys.

        Raises Damaged if a list or a manifest shows that the store cannot be understood.
        """
        final = FinalDeletions(datetime.now(UTC) - grace, by_rules_of=self._log.name)
        if not self._blobs:
            return 0
        self._logs.check()
        # No blob gets a base while the lock is held, so what blobs need stays the same.
        with self._bucket.spending_reserve(), bases_lock(self._bucket, wait=True):
            return self._collect(Choice(self, final))

    def _collect(self, choice: Choice) -> int:
        view = self._log.view()  # before the list, which so has the manifests of its versions
        if self._is_fenced(view):
            return 0
        listed = self._manifests()
        self._contents = {k: v for k, v in self._contents.items() if k in listed}
        doomed = choice.of(view, listed)
        if not doomed:
            return 0
        own = OwnList(self._bucket)
        has_deleted = False
        try:
            own.write(doomed)
            self._gcs.add(own.id)
            found = own.all_keys()
            others = Others(self._bucket, found, own.key, ABANDONED.total_seconds())
            number = self._begin_round(found)
            view = self._fenced(own)
            freed = [] if self._is_fenced(view) else self._still(choice, view, listed, found)
            for start in range(0, len(freed), _BATCH):
                own.check()
                has_deleted = True
                batch = freed[start : start + _BATCH]
                in_threads(self._bucket.delete, batch, self._bucket.concurrency)
                self._forget(batch)
        except BaseException:
            if not has_deleted:
                with contextlib.suppress(OSError, KeptError):
                    own.remove()
            raise
        self._end(own, found, number)
        others.remove()
        return len(freed)

    def _still(
        self, choice: Choice, view: View, listed: dict[str, float], lists: Iterable[str]
    ) -> list[str]:
        """Return which of the condemned keys no version needs, in the records before the fence.

        Manifests are last in the alphabet, and first here: undelete looks at them first.
        """
        now = self._manifests_for_certain()
        mine = sorted((choice.condemned or set()) & now.keys())
        noted = mapped(self._is_shared, mine, self._bucket.concurrency)
        choice.spared |= {
            key
            for key, is_shared in zip(mine, noted, strict=True)
            if is_shared or now[key] != listed[key]
        }
        choice.damaged = {blob_key(blob) for blob in map(marked_blob, lists) if blob}
        return sorted(choice.of(view, now), reverse=True)

    def _is_fenced(self, view: View) -> bool:
        """Return whether the log has a new fence of another gc; then this process owns nothing."""
        new = itertools.takewhile(lambda event: event["number"] > self._seen, view.backwards())
        gcs = {event["gc"] for event in new if is_fence(event)}
        self._seen = view.head
        if gcs <= self._gcs:
            return False
        self._before = None
        self._blobs.clear()
        self._mine.clear()
        return True

    def _forget(self, keys: Iterable[str]) -> None:
        self._blobs.difference_update(keys)
        self._mine.difference_update(keys)

    def _fenced(self, own: OwnList) -> View:
        """Put a fence into the artifact's own log; return the log before it."""
        fence = {"event": "alias", "aliases": {}, "gc": own.id}
        return next(v for v in self._log.views() if self._log.append_after(v, fence))

    def _begin_round(self, found: Iterable[str]) -> int:
        """Create a round that is greater than all others: writers that began before notice it."""
        number = max(filter(None, map(round_of, found)), default=0) + 1
        while True:
            with contextlib.suppress(KeyExists):
                self._bucket.put_if_absent(round_key(number), [b'{"keys":[]}'])
                return number
            number += 1

    def _end(self, own: OwnList, found: Iterable[str], number: int) -> None:
        rounds = [key for key in found if (round_of(key) or number) < number]
        for key in (own.key, *rounds):
            with contextlib.suppress(OSError, KeptError):
                self._bucket.delete(key)

    def _manifests(self) -> dict[str, float]:
        items = self._bucket.items("manifests/")
        return {item.key: item.stored for item in items if is_manifest(item.key)}

    def _manifests_for_certain(self) -> dict[str, float]:
        """Return the manifests; raises Damaged if their list is old, or ends too early.

        Servers and caches send such lists. A list that has the key that was stored just before it,
        and that comes last in it, is neither.
        """
        if not self._bucket.is_remote:
            return self._manifests()
        key = f"{END}{os.urandom(16).hex()}"
        self._bucket.put(key, [b""])
        try:
            found = {item.key: item.stored for item in self._bucket.items("manifests/")}
        finally:
            with contextlib.suppress(OSError, KeptError):
                self._bucket.delete(key)
        if key not in found:
            raise Damaged(
                f"{self._bucket.location}: a list of the keys below manifests/ lacks {key}, which "
                "this gc has just stored. Lists of this place are old or incomplete, so the gc "
                "deletes nothing. If that repeats, look for a cache before the bucket."
            )
        for left, at in found.items():  # by a process that was killed
            if left.startswith(END) and at < found[key] - ABANDONED.total_seconds():
                self._bucket.delete(left)
        return {each: at for each, at in found.items() if is_manifest(each)}

    def _is_shared(self, manifest: str) -> bool:
        """Return whether a manifest was stored more than once; asked by its key, not by a list."""
        return self._bucket.size(shared_key(_name(manifest))) is not None

    def may_need(self, listed: Mapping[str, float]) -> set[str]:
        """Return the manifests that may name a blob that this process may free."""
        before = self._before or {}
        return {key for key in listed if before.get(key) != listed[key]}

    def owned(self, keys: set[str]) -> set[str]:
        """Return which blobs and manifests this process may free, if no version needs them."""
        return keys & (self._blobs | self._mine)

    def blobs_of(self, manifests: Iterable[str]) -> set[str]:
        """Return the blobs of manifests; each is read once by this process.

        A manifest that is missing by now needs nothing. Raises Damaged if one cannot be read.
        """
        wanted = set(manifests)
        unread = sorted(wanted - self._contents.keys())
        read = mapped(self._read, unread, self._bucket.concurrency)
        for key, blobs in zip(unread, read, strict=True):
            if blobs is not None:
                self._contents[key] = blobs
        return {blob for key in wanted for blob in self._contents.get(key, ())}

    def bases(self) -> Bases:
        """Return what blobs need as bases."""
        return self._bases

    def _read(self, key: str) -> Keys | None:
        try:
            return again_if_damaged(lambda: self._decoded(key))
        except KeyNotFound:
            return None

    def _decoded(self, key: str) -> Keys:
        """Return the blobs of a manifest."""
        data = read_bounded(self._bucket, key, MOST_VALUE)
        if digest(data) != _name(key):
            raise Damaged(f"{key} is damaged: it has another digest than its name")
        chunks = decode_manifest(data, key, self._bucket).chunks()
        return tuple({sys.intern(blob_key(chunk.blob)) for chunk in chunks})


def _name(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")
