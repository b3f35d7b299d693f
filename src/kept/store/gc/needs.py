"""What versions need in a store, remembered: for many questions about one artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import Damaged
from kept.store.blobs.blob import bases_of, blob_key, stored_size
from kept.store.content.manifest import manifest_key
from kept.store.content.read_manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kept.bucket.base import Bucket
    from kept.store.log.history import VersionRecord

_MOST = 500_000  # keys in memory
_NOTHING: dict[str, int] = {}


class Needs:
    """Looks up which keys a version needs, and their stored sizes; for a store in a folder.

    Manifests never change, so each is read once. A blob that is coded later keeps its first size
    here, so the sizes are for people and not for decisions.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._of: dict[str, dict[str, int]] = {}  # by manifest
        self._blobs: dict[str, dict[str, int]] = {}  # by blob: its key and those of its bases
        self._count = 0

    def of(self, record: VersionRecord) -> Mapping[str, int]:
        """Return the stored size of each key that a version needs; nothing if it is damaged."""
        found = self._of.get(record.manifest)
        if found is None:
            if self._count > _MOST:
                self._of, self._blobs, self._count = {}, {}, 0
            found = self._of[record.manifest] = self._read(record)
            self._count += len(found)
        return found

    def freed(
        self,
        doomed: Iterable[VersionRecord],
        kept: Iterable[VersionRecord],
        elsewhere: Iterable[str] = (),
    ) -> int:
        """Return the bytes that the doomed versions need, without keys of kept ones and others."""
        stays = {*elsewhere, *(key for record in kept for key in self.of(record))}
        gone = {key: size for record in doomed for key, size in self.of(record).items()}
        return sum(size for key, size in gone.items() if key not in stays)

    def _read(self, record: VersionRecord) -> dict[str, int]:
        try:
            manifest = read_manifest(self._bucket, record)
        except Damaged:  # verify reports it
            return _NOTHING
        ends: dict[str, int] = {}  # blob -> the least number of its raw bytes
        for chunk in manifest.chunks():
            ends[chunk.blob] = max(ends.get(chunk.blob, 0), chunk.offset + chunk.size)
        found = {manifest_key(record.manifest): len(manifest.encode())}
        for blob, end in ends.items():
            if blob not in self._blobs:
                self._blobs[blob] = self._blob(blob, end)
            found |= self._blobs[blob]
        return found

    def _blob(self, name: str, end: int) -> dict[str, int]:
        key = blob_key(name)
        size = self._bucket.size(key) or 0
        if size in (0, stored_size(end)):  # coded forms are shorter, so this is the raw one
            return {key: size}
        needed = [key, *map(blob_key, bases_of(self._bucket, name))]
        return {each: self._bucket.size(each) or 0 for each in needed}
