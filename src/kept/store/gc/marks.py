"""Finds the keys that versions need, and the deleted versions that needed others. For gc."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged, KeyNotFound, Unreadable
from kept.parallel import mapped
from kept.store.blobs.blob import LONGEST_CHAIN, bases_of, blob_key, stored_size
from kept.store.content.manifest import Manifest, manifest_key
from kept.store.content.read_manifest import decode_manifest, read_manifest
from kept.store.encoding import MOST_VALUE, again_if_damaged, read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Bucket, Item
    from kept.store.log.history import VersionRecord

LEFT_OVER = "nothing refers to it"
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_MANIFEST = re.compile(r"manifests/([0-9a-f]{2})/(\1[0-9a-f]{62})\.json")


def deleted_by(record: VersionRecord, moment: datetime) -> bool:
    """Return whether a version was deleted at a moment, or before it."""
    return record.deleted_at is not None and datetime.fromisoformat(record.deleted_at) <= moment


def is_manifest(key: str) -> bool:
    """Return whether a key has the form of a manifest's key."""
    return bool(_MANIFEST.fullmatch(key))


class Doomed(NamedTuple):
    """A blob or manifest that no version needs."""

    key: str
    size: int  # bytes, as stored
    why: str


@dataclass(frozen=True, slots=True)
class FinalDeletions:
    """The deletions that cannot be undone any longer: gc frees the bytes of their versions."""

    until: datetime  # the moment of the latest one
    by_rules_of: str | None = (
        None  # an artifact: only its versions, and only if a rule deleted them
    )

    def include(self, name: str, record: VersionRecord) -> bool:
        """Return whether a version of an artifact is deleted, and finally so."""
        is_by_rule = name == self.by_rules_of and record.delete_reason is not None
        return (self.by_rules_of is None or is_by_rule) and deleted_by(record, self.until)


class Marks:
    """Collects the keys that versions need, except versions whose deletion is final."""

    def __init__(self, bucket: Bucket, final: FinalDeletions) -> None:
        self._bucket, self._final = bucket, final
        self._needed: dict[str, int] = {}  # key -> of a blob, the least number of raw bytes
        self._whose: dict[str, str] = {}  # key -> the deleted version that needed it
        self._deleted: dict[tuple[str, int], str] = {}  # not finally -> key of the manifest
        self._empty: set[str] = set()  # keys of manifests that hold nothing to bring back

    def add(self, name: str, versions: Iterable[VersionRecord]) -> None:
        """Mark the keys that the versions of an artifact need; raises Damaged."""
        unread: list[VersionRecord] = []
        for record in versions:
            key = manifest_key(record.manifest)
            is_final = self._final.include(name, record)
            if record.deleted and not is_final:
                self._deleted[name, record.index] = key
            if is_final:
                self._whose.setdefault(key, f"{name}:v{record.index}, deleted {record.deleted_at}")
            elif key not in self._needed:
                self._needed[key] = 0
                unread.append(record)
        found = mapped(self._read_needed, unread, self._bucket.concurrency)
        for record, manifest in zip(unread, found, strict=True):
            if not manifest.files:
                self._empty.add(manifest_key(record.manifest))
            for chunk in manifest.chunks():
                key, end = blob_key(chunk.blob), chunk.offset + chunk.size
                self._needed[key] = max(self._needed.get(key, 0), end)

    @property
    def waiting(self) -> int:
        """How many deleted versions keep their bytes, because they can still be undeleted."""
        return sum(key not in self._empty for key in self._deleted.values())

    def unneeded(self) -> Iterator[Item]:
        """Yield the manifests and blobs that no version needs, also not as a base."""
        manifests = [i for i in self._bucket.items("manifests/") if is_manifest(i.key)]
        # Manifests first: undelete looks at them first, so gc deletes them first.
        yield from (item for item in manifests if item.key not in self._needed)
        blobs = [item for item in self._bucket.items("blobs/") if _BLOB.fullmatch(item.key)]
        needed = self.with_bases(item for item in blobs if item.key in self._needed)
        for key in self._unlisted(blobs):
            needed.update(self._bases_of(key.rpartition("/")[2]))
        yield from (item for item in blobs if item.key not in needed)

    def _unlisted(self, blobs: Iterable[Item]) -> list[str]:
        """Return the needed blobs that a list lacks: an incomplete list must not hide a base."""
        return sorted(filter(_BLOB.fullmatch, self._needed.keys() - {item.key for item in blobs}))

    def with_bases(self, blobs: Iterable[Item]) -> set[str]:
        """Return the keys of blobs and of all their bases; raises Unreadable."""
        found: set[str] = set()
        for key, bases in mapped(self._bases, blobs, self._bucket.concurrency):
            found.add(key)
            found.update(bases)
        return found

    def needed_of(self, keys: Iterable[str]) -> set[str]:
        """Return the keys that a version needs after all, and the bases of these blobs."""
        found = {key for key in keys if key in self._needed}
        blobs = (key.rpartition("/")[2] for key in found if _BLOB.fullmatch(key))
        return found | {key for blob in blobs for key in self._bases_of(blob)}

    def bases_last(self, doomed: list[Doomed]) -> list[Doomed]:
        """Return doomed keys with the manifests first, and with each blob before its bases."""

        def depth(each: Doomed) -> int:
            blob = _BLOB.fullmatch(each.key)
            return len(bases_of(self._bucket, blob[2])) if blob else LONGEST_CHAIN + 1

        return sorted(doomed, key=depth, reverse=True)

    def attribute(self, keys: Iterable[str]) -> dict[str, str]:
        """Map each unneeded key to the reason it exists; omit keys that must stay.

        A manifest without chunks stays: it cannot be stored under another name.
        """
        found = dict.fromkeys(keys, LEFT_OVER)
        manifests = list(filter(is_manifest, found))
        read = mapped(self._read_any, manifests, self._bucket.concurrency)
        for key, manifest in zip(manifests, read, strict=True):
            blobs = {blob_key(chunk.blob) for chunk in manifest.chunks()} if manifest else None
            if blobs is not None and not blobs:
                del found[key]
            elif key in self._whose:
                found |= dict.fromkeys({key, *(blobs or ())} & found.keys(), self._whose[key])
        return found

    def _read_needed(self, record: VersionRecord) -> Manifest:
        try:
            return read_manifest(self._bucket, record)
        except Damaged as error:
            if not record.deleted or isinstance(error, Unreadable):
                raise
            return Manifest(())  # it cannot be undeleted in any case

    def _read_any(self, key: str) -> Manifest | None:
        try:
            return again_if_damaged(
                lambda: decode_manifest(
                    read_bounded(self._bucket, key, MOST_VALUE), key, self._bucket
                )
            )
        except Unreadable:
            return Manifest(())  # unknown, so it stays
        except (KeyNotFound, Damaged):
            return None

    def _bases(self, item: Item) -> tuple[str, list[str]]:
        # A blob of this length is raw (coded forms are shorter), so it has no base: no request.
        if item.size == stored_size(self._needed.get(item.key, -1)):
            return item.key, []
        return item.key, self._bases_of(item.key.rpartition("/")[2])

    def _bases_of(self, blob: str) -> list[str]:
        return [blob_key(base) for base in bases_of(self._bucket, blob, strict=True)]
