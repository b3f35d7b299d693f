"""Counts the bytes that versions hold, the bytes stored for them, and the savings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kept.errors import Damaged
from kept.parallel import mapped
from kept.store.blobs.blob import RAW, bases_of, blob_key, read_head, stored_size
from kept.store.content.manifest import manifest_key
from kept.store.content.read_manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from kept.bucket.base import Bucket
    from kept.store.blobs.header import Head
    from kept.store.content.manifest import Manifest
    from kept.store.log.history import VersionRecord


@dataclass(slots=True)
class Usage:
    """The bytes that versions take together.

    logical + overhead = stored + dedup + deltas + compression. overhead is the bytes of
    blobs that no version holds: bases, neighbours in a blob, heads.
    """

    logical: int = 0  # all files of all versions
    stored: int = 0  # all blobs that the versions need, and their manifests
    dedup: int = 0  # saved because versions share chunks
    deltas: int = 0  # saved in blobs that are stored as differences
    compression: int = 0  # saved in other coded blobs
    overhead: int = 0
    deleted: int = 0  # not in the others: needed by deleted versions only, and not yet freed by gc
    frees: dict[tuple[str, int], int] = field(default_factory=dict)  # by deleting this version


def usage(
    bucket: Bucket, artifacts: Iterable[tuple[str, list[VersionRecord]]], name: str | None
) -> Usage:
    """Return the bytes that the versions of an artifact take, or of all artifacts.

    Pass all artifacts of the store with their deleted versions, because deleting a version frees no
    bytes that another one needs. Versions with a damaged manifest are left out. Only gc frees the
    bytes of deleted versions.
    """
    # Most manifests of deleted versions are gone: one listing is cheaper than asking for each.
    existing = set(bucket.keys("manifests/"))
    records = {(owner, r.index): r for owner, versions in artifacts for r in versions
               if not r.deleted or manifest_key(r.manifest) in existing}  # fmt: skip
    read = mapped(lambda r: _manifest(bucket, r), records.values(), bucket.concurrency)
    manifests = {key: m for key, m in zip(records, read, strict=True) if m is not None}
    blobs = _Blobs(bucket, manifests.values())
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
    unique = {c.digest: c.size for m in wanted.values() for c in m.file_chunks()}
    found.dedup = found.logical - sum(unique.values())
    saved = found.dedup + found.deltas + found.compression
    found.overhead = found.stored + saved - found.logical
    for key in wanted:
        found.frees[key] = sum(size for item, size in needs[key].items() if users[item] == 1)
    return found


def freed_by(
    bucket: Bucket,
    artifacts: Iterable[tuple[str, list[VersionRecord]]],
    chosen: AbstractSet[tuple[str, int]],
) -> int:
    """Return the bytes that only the chosen versions need, by name and number.

    Pass all artifacts of the store: a gc frees these bytes after the versions are deleted.
    """
    records = {(owner, r.index): r for owner, versions in artifacts for r in versions
               if not r.deleted}  # fmt: skip
    read = mapped(lambda r: _manifest(bucket, r), records.values(), bucket.concurrency)
    manifests = {key: m for key, m in zip(records, read, strict=True) if m is not None}
    blobs = _Blobs(bucket, manifests.values())
    sizes: dict[str, int] = {}
    for key in chosen & manifests.keys():
        sizes |= _needs(manifests[key], records[key], blobs)
    for key, manifest in manifests.items():
        if key not in chosen:
            for item in _needs(manifest, records[key], blobs):
                sizes.pop(item, None)
    return sum(sizes.values())


class _Blobs:
    """The stored sizes of blobs and of their bases, and the bytes that their form saves."""

    def __init__(self, bucket: Bucket, manifests: Iterable[Manifest]) -> None:
        """Look up the blobs that manifests name; a raw one costs no more than its listing."""
        self.size: dict[str, int] = {}
        self.saved: dict[str, tuple[bool, int]] = {}  # whether it is a difference, bytes saved
        self.bases: dict[str, tuple[str, ...]] = {}  # of coded blobs
        ends: dict[str, int] = {}  # blob -> the least number of its raw bytes
        for chunk in (chunk for manifest in manifests for chunk in manifest.chunks()):
            ends[chunk.blob] = max(ends.get(chunk.blob, 0), chunk.offset + chunk.size)
        listed = {item.key: item.size for item in bucket.items("blobs/")}
        others: list[str] = []
        for name, end in ends.items():
            size = listed.get(blob_key(name), 0)
            if size == stored_size(end):  # coded forms are shorter, so this is the raw one
                self.size[name] = size
            elif size:
                others.append(name)
        found = list(mapped(lambda name: bases_of(bucket, name), others, bucket.concurrency))
        self.bases |= zip(others, found, strict=True)
        self._read_heads(bucket, {*others, *(base for bases in found for base in bases)})

    def _read_heads(self, bucket: Bucket, names: set[str]) -> None:
        ordered = sorted(names - self.size.keys())
        heads = mapped(lambda name: _head(bucket, name), ordered, bucket.concurrency)
        for name, head in zip(ordered, heads, strict=True):
            if head is not None and head.codec == RAW:
                self.size[name] = stored_size(head.raw_size)
            elif head is not None:
                self.size[name] = head.stored_size
                saved = stored_size(head.raw_size) - head.stored_size
                self.saved[name] = (head.base is not None, saved)


def _needs(manifest: Manifest, record: VersionRecord, blobs: _Blobs) -> dict[str, int]:
    """Return the stored size of each blob that a version needs, and of its manifest."""
    needed = {manifest_key(record.manifest): len(manifest.encode())}
    for blob in {chunk.blob for chunk in manifest.chunks()}:
        for name in (blob, *blobs.bases.get(blob, ())):
            needed[name] = blobs.size.get(name, 0)
    return needed


def _manifest(bucket: Bucket, record: VersionRecord) -> Manifest | None:
    try:
        return read_manifest(bucket, record)
    except Damaged:  # verify reports it
        return None


def _head(bucket: Bucket, name: str) -> Head | None:
    try:
        return read_head(bucket, name)
    except Damaged:
        return None
