"""What versions need, and whose was what none of them needs. For gc."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from kept.errors import Damaged, KeyNotFound
from kept.parallel import mapped
from kept.store.blobs.blob import bases_of, blob_key, stored_size
from kept.store.content.manifest import Manifest, manifest_key, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kept.bucket.base import Bucket, Item
    from kept.store.log.history import VersionRecord

    IsOver = Callable[[str, VersionRecord], bool]  # the artifact's name and the version

LEFT_OVER = "nothing refers to it"
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_MANIFEST = re.compile(r"manifests/([0-9a-f]{2})/(\1[0-9a-f]{62})\.json")
_AT_ONCE = 8  # reads, in object storage


def deleted_by(record: VersionRecord, moment: datetime) -> bool:
    """Return whether a version was deleted at a moment, or before it."""
    return record.deleted_at is not None and datetime.fromisoformat(record.deleted_at) <= moment


class Marks:
    """Collects what versions need, but for those whose deletion cannot be taken back any more."""

    def __init__(self, bucket: Bucket, is_over: IsOver) -> None:
        """Take what says whether a version, deleted or not, needs nothing any more."""
        self._bucket = bucket
        self._is_over = is_over
        self._at_once = _AT_ONCE if bucket.is_remote else 1
        self._needed: dict[str, int] = {}  # key -> of a blob, how many raw bytes at the least
        self._whose: dict[str, str] = {}  # key -> the deleted version that needed it
        self._deleted: dict[tuple[str, int], str] = {}  # that can come back -> key of the manifest
        self._empty: set[str] = set()  # keys of manifests that hold nothing to come back

    def add(self, name: str, versions: Iterable[VersionRecord]) -> None:
        """Take note of what the versions of an artifact need; raises Damaged."""
        due: list[VersionRecord] = []
        for record in versions:
            key = manifest_key(record.manifest)
            is_over = self._is_over(name, record)
            if record.deleted and not is_over:
                self._deleted[name, record.index] = key
            if is_over:
                self._whose.setdefault(key, f"{name}:v{record.index}, deleted {record.deleted_at}")
            elif key not in self._needed:
                self._needed[key] = 0
                due.append(record)
        found = mapped(self._read_needed, due, self._at_once)
        for record, manifest in zip(due, found, strict=True):
            if not manifest.files:
                self._empty.add(manifest_key(record.manifest))
            for chunk in manifest.chunks():
                key, end = blob_key(chunk.blob), chunk.offset + chunk.size
                self._needed[key] = max(self._needed.get(key, 0), end)

    @property
    def waiting(self) -> int:
        """How many deleted versions keep their bytes, since their deletion can be taken back."""
        return sum(key not in self._empty for key in self._deleted.values())

    def unneeded(self) -> Iterator[Item]:
        """Yield the manifests and blobs that no version needs, and no blob that one needs."""
        manifests = [i for i in self._bucket.items("manifests/") if _MANIFEST.fullmatch(i.key)]
        # Manifests first: what undelete looks at first is to go first.
        yield from (item for item in manifests if item.key not in self._needed)
        blobs = [item for item in self._bucket.items("blobs/") if _BLOB.fullmatch(item.key)]
        needed = self.with_bases(item for item in blobs if item.key in self._needed)
        yield from (item for item in blobs if item.key not in needed)

    def with_bases(self, blobs: Iterable[Item]) -> set[str]:
        """Return the keys of blobs and of those without which they cannot be read."""
        found: set[str] = set()
        for key, bases in mapped(self._bases, blobs, self._at_once):
            found.add(key)
            found.update(bases)
        return found

    def needed_of(self, keys: Iterable[str]) -> set[str]:
        """Return those of the keys that a version needs after all, with what it has added since."""
        found = {key for key in keys if key in self._needed}
        blobs = (key.rpartition("/")[2] for key in found if _BLOB.fullmatch(key))
        return found | {blob_key(base) for blob in blobs for base in bases_of(self._bucket, blob)}

    def attribute(self, keys: Iterable[str]) -> dict[str, str]:
        """Return why each of the keys that nobody needs is there; no word of those that must stay.

        A manifest without chunks stays: it cannot be stored under another name.
        """
        found = dict.fromkeys(keys, LEFT_OVER)
        manifests = [key for key in found if _MANIFEST.fullmatch(key)]
        for key, manifest in zip(
            manifests, mapped(self._read_any, manifests, self._at_once), strict=True
        ):
            blobs = {blob_key(chunk.blob) for chunk in manifest.chunks()} if manifest else None
            if blobs is not None and not blobs:
                del found[key]
            elif key in self._whose:
                found |= dict.fromkeys({key, *(blobs or ())} & found.keys(), self._whose[key])
        return found

    def _read_needed(self, record: VersionRecord) -> Manifest:
        try:
            return read_manifest(self._bucket, record)
        except Damaged:
            if not record.deleted:
                raise
            return Manifest(())  # it cannot be undeleted in any case

    def _read_any(self, key: str) -> Manifest | None:
        try:
            return Manifest.decode(self._bucket.get(key), key)
        except (KeyNotFound, Damaged):
            return None

    def _bases(self, item: Item) -> tuple[str, list[str]]:
        # One of this length is stored raw (coded forms are shorter), so it has none: no request.
        if item.size == stored_size(self._needed.get(item.key, -1)):
            return item.key, []
        blob = item.key.rpartition("/")[2]
        return item.key, [blob_key(base) for base in bases_of(self._bucket, blob)]
