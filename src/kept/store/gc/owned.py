"""The gc of one artifact in object storage: its cost depends on what the artifact has changed.

It frees blobs that this process itself has stored, and reads the log of no other artifact. Who
needs a blob is in the manifests: each writer stores its manifest, then lists gc/ again, and only
then creates its record. docs/format.md ("The collector of one artifact") has the protocol and why
it loses nothing. Everything else waits for the gc in collector.py.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.digest import digest
from kept.errors import Damaged, KeptError, KeyExists, KeyNotFound
from kept.parallel import in_threads, mapped
from kept.store.blobs.blob import blob_key
from kept.store.content.manifest import manifest_key
from kept.store.content.put_manifest import SHARED, shared_key
from kept.store.content.read_manifest import decode_manifest
from kept.store.encoding import MOST_VALUE, again_if_damaged, read_bounded
from kept.store.gc.marks import FinalDeletions
from kept.store.gc.own_list import ABANDONED, Others, OwnList
from kept.store.log.fence import marked_blob, round_key, round_of
from kept.store.log.history import version_records

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from kept.store.log.log import Logs, View

_YOUNG = 60.0  # seconds; times of storing are cut to seconds, and a clock can be set a little
_BATCH = 64  # deletions between two checks that the own list still exists

Keys = frozenset[str]


class OwnedBlobs:
    """The blobs that this process has stored for one artifact, and how it frees them."""

    def __init__(self, logs: Logs, name: str) -> None:
        self._logs, self._log, self._bucket = logs, logs.of(name), logs.bucket
        self._before: dict[str, float] | None = None  # manifests that were in place, and times
        self._blobs: set[str] = set()  # that were missing after that, and were stored then
        self._contents: dict[str, Keys] = {}  # the blobs of manifests that were read

    def committed(self, written: Iterable[str]) -> None:
        """Note what a commit of this process has stored; costs a listing the first time."""
        if self._before is not None:
            self._blobs.update(map(blob_key, written))
            return
        with contextlib.suppress(OSError, KeptError):  # the next commit tries again
            found = self._manifests()
            newest = max(found.values(), default=0.0)
            self._before = {k: at for k, at in found.items() if at < newest - _YOUNG}

    def collect(self, grace: timedelta) -> int:
        """Free the versions that rules have deleted at least grace ago; return the deleted keys.

        Raises Damaged if a list or a manifest shows that the store cannot be understood.
        """
        final = FinalDeletions(datetime.now(UTC) - grace, by_rules_of=self._log.name)
        if not self._blobs:
            return 0
        self._logs.check()
        listed = self._manifests()
        doomed = self._chosen(self._log.view(), final, listed)
        if not doomed:
            return 0
        own = OwnList(self._bucket)
        has_deleted = False
        try:
            own.write(doomed)
            found = own.all_keys()
            others = Others(self._bucket, found, own.key, ABANDONED.total_seconds())
            number = self._begin_round(found)
            doomed = self._still(self._fenced(own), final, listed, doomed)
            doomed -= {blob_key(blob) for blob in map(marked_blob, found) if blob}
            for start in range(0, len(doomed), _BATCH):
                own.check()
                has_deleted = True
                # Manifests last in the alphabet, first here: undelete looks at them first.
                batch = sorted(doomed, reverse=True)[start : start + _BATCH]
                in_threads(self._bucket.delete, batch, self._bucket.concurrency)
                self._blobs.difference_update(batch)
        except BaseException:
            if not has_deleted:
                with contextlib.suppress(OSError, KeptError):
                    own.remove()
            raise
        self._end(own, found, number)
        others.remove()
        return len(doomed)

    def _chosen(self, view: View, final: FinalDeletions, listed: dict[str, float]) -> set[str]:
        """Return the keys that no version needs, as far as the lists and manifests say now."""
        needed, ruled_out, own = set[str](), set[str](), set[str]()
        for record in version_records(view.items()):
            key = manifest_key(record.manifest)
            own.add(key)
            if final.include(self._log.name, record):
                ruled_out.add(key)
            elif key in listed:
                needed.add(key)
            elif not record.deleted:
                raise Damaged(
                    f"{self._bucket.location}: {key} of {self._log.name}:v{record.index} is "
                    "missing, or a list is old or incomplete. So the gc deletes nothing. Run "
                    "kept verify."
                )
        ruled_out = {key for key in ruled_out - needed if key in listed}
        if not ruled_out:
            return set()
        before = self._before or {}
        others = {k for k in listed.keys() - own if before.get(k) != listed[k]}
        kept = self._blobs_of(needed | others)
        chosen: set[str] = set()
        for key in ruled_out:
            blobs = (self._blobs_of([key]) & self._blobs) - kept
            chosen |= {key, *blobs} if blobs else set()
        return chosen

    def _still(
        self, view: View, final: FinalDeletions, listed: dict[str, float], doomed: set[str]
    ) -> set[str]:
        """Return which of the condemned keys no version needs, in the records before the fence."""
        now = self._manifests()
        noted = set(self._bucket.keys(SHARED))
        shared = {
            key
            for key in doomed & now.keys()
            if now[key] != listed[key] or shared_key(_name(key)) in noted
        }
        return (doomed & self._chosen(view, final, now)) - shared - self._blobs_of(shared)

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
        return {item.key: item.stored for item in self._bucket.items("manifests/")}

    def _blobs_of(self, manifests: Iterable[str]) -> set[str]:
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

    def _read(self, key: str) -> Keys | None:
        try:
            return again_if_damaged(lambda: self._decoded(key))
        except KeyNotFound:
            return None

    def _decoded(self, key: str) -> Keys:
        data = read_bounded(self._bucket, key, MOST_VALUE)
        if digest(data) != _name(key):
            raise Damaged(f"{key} is damaged: it has another digest than its name")
        manifest = decode_manifest(data, key, self._bucket)
        return frozenset(blob_key(chunk.blob) for chunk in manifest.chunks())


def _name(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")
