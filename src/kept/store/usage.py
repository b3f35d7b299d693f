"""What versions take: bytes they hold, bytes stored for them, and why these are fewer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kept.errors import Damaged
from kept.parallel import mapped
from kept.store.blobs.blob import RAW, bases_of, read_head, stored_size
from kept.store.content.manifest import manifest_key, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.bucket.base import Bucket
    from kept.store.blobs.header import Head
    from kept.store.content.manifest import Manifest
    from kept.store.log.history import VersionRecord

_AT_ONCE = 8  # reads, in object storage


@dataclass(slots=True)
class Usage:
    """What versions take together; bytes.

    logical = stored + dedup + deltas + compression, but for what blobs hold beside the versions
    (bases, neighbours in a blob, heads), which is in overhead: logical + overhead = that sum.
    """

    logical: int = 0  # all files of all versions
    stored: int = 0  # all blobs that the versions need, and their manifests
    dedup: int = 0  # saved since versions share chunks
    deltas: int = 0  # saved in blobs that are stored as differences
    compression: int = 0  # saved in other coded blobs
    overhead: int = 0
    deleted: int = 0  # beside all that: what only deleted versions need, and gc has left so far
    frees: dict[tuple[str, int], int] = field(default_factory=dict)  # version -> by deleting it


def usage(
    bucket: Bucket, artifacts: Iterable[tuple[str, list[VersionRecord]]], name: str | None
) -> Usage:
    """Return what the versions of an artifact take, or those of all.

    artifacts are all of the store, with their deleted versions: what several of them need no
    deletion frees. Versions whose manifest is damaged are left out. Deleted bytes are free after gc
    only.
    """
    there = set(bucket.keys("manifests/"))  # of deleted versions most are gone: ask for none of it
    records = {(owner, e.index): e for owner, versions in artifacts for e in versions
               if not e.deleted or manifest_key(e.manifest) in there}  # fmt: skip
    read = mapped(lambda e: _manifest(bucket, e), records.values(), _at_once(bucket))
    manifests = {key: m for key, m in zip(records, read, strict=True) if m is not None}
    blobs = _Blobs(bucket, {c.blob for m in manifests.values() for c in m.chunks()})
    needs = {key: _needs(m, records[key], blobs) for key, m in manifests.items()}
    live = {key: m for key, m in manifests.items() if not records[key].deleted}
    wanted = {key: m for key, m in live.items() if name in (None, key[0])}
    users = Counter(item for key in live for item in needs[key])
    found = Usage(logical=sum(m.size for m in wanted.values()))
    gone = [key for key in manifests if key not in live and name in (None, key[0])]
    left = {item: size for key in gone for item, size in needs[key].items()}
    found.deleted = sum(size for item, size in left.items() if item not in users)
    for item, size in {i: s for key in wanted for i, s in needs[key].items()}.items():
        found.stored += size
        if item in blobs.saved:
            is_delta, saved = blobs.saved[item]
            found.deltas += saved if is_delta else 0
            found.compression += 0 if is_delta else saved
    unique = {c.digest: c.size for m in wanted.values() for c in m.chunks()}
    found.dedup = found.logical - sum(unique.values())
    saved = found.dedup + found.deltas + found.compression
    found.overhead = found.stored + saved - found.logical
    for key in wanted:
        found.frees[key] = sum(size for item, size in needs[key].items() if users[item] == 1)
    return found


class _Blobs:
    """The sizes of blobs and of their bases, as stored, and what their form saves."""

    def __init__(self, bucket: Bucket, names: set[str]) -> None:
        self.size: dict[str, int] = {}
        self.saved: dict[str, tuple[bool, int]] = {}  # is it a difference, how many bytes
        ordered = sorted(names)
        found = list(mapped(lambda name: bases_of(bucket, name), ordered, _at_once(bucket)))
        self.bases = dict(zip(ordered, found, strict=True))
        ordered = sorted({*names, *(base for bases in found for base in bases)})
        heads = mapped(lambda name: _head(bucket, name), ordered, _at_once(bucket))
        for name, head in zip(ordered, heads, strict=True):
            if head is not None and head.codec == RAW:
                self.size[name] = stored_size(head.raw_size)
            elif head is not None:
                self.size[name] = head.stored_size
                saved = stored_size(head.raw_size) - head.stored_size
                self.saved[name] = (head.base is not None, saved)


def _needs(manifest: Manifest, record: VersionRecord, blobs: _Blobs) -> dict[str, int]:
    """Return the stored size of all that a version needs, by key or blob."""
    needed = {manifest_key(record.manifest): len(manifest.encode())}
    for blob in {chunk.blob for chunk in manifest.chunks()}:
        for name in (blob, *blobs.bases[blob]):
            needed[name] = blobs.size.get(name, 0)
    return needed


def _manifest(bucket: Bucket, record: VersionRecord) -> Manifest | None:
    try:
        return read_manifest(bucket, record)
    except Damaged:  # verify tells of it
        return None


def _head(bucket: Bucket, name: str) -> Head | None:
    try:
        return read_head(bucket, name)
    except Damaged:
        return None


def _at_once(bucket: Bucket) -> int:
    return _AT_ONCE if bucket.is_remote else 1
