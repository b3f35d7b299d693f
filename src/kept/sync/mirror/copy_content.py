"""Copying the content of a version to another bucket: only the blobs that it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import BeingCollected
from kept.parallel import mapped
from kept.store.blobs.blob import blob_key, is_whole, raw_form, read_blob
from kept.store.content.manifest import manifest_key, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Bucket, Parts
    from kept.bucket.transfer import Transfer
    from kept.store.content.manifest import Manifest
    from kept.store.log.history import VersionRecord

_AT_ONCE = 8  # questions; a blob takes memory, so of these fewer are read ahead
_READ_AHEAD = 4


class ContentCopy:
    """Copies blobs and manifests; remembers which blobs the target is known to have."""

    def __init__(self, source: Bucket, target: Bucket) -> None:
        self._source, self._target = source, target
        self._there: set[str] = set()

    def forget(self) -> None:
        """Know nothing of the target any more: a gc is deleting there."""
        self._there.clear()

    def copy(
        self, entry: VersionRecord, condemned: frozenset[str], transfer: Transfer
    ) -> tuple[int, int]:
        """Make the target hold a version's content; return the blobs and bytes that it lacked.

        The transfer, which counts on all the bytes of the version, is told of each of them.
        All of it is checked on the way. Raises Damaged, or BeingCollected if it needs a condemned
        key: a copy has the names that its source has.
        """
        manifest = read_manifest(self._source, entry)
        ends = _ends(manifest)
        if condemned & {manifest_key(entry.manifest), *map(blob_key, ends)}:
            raise BeingCollected(
                f"A gc is about to delete in {self._target.location} what version "
                f"v{entry.index} needs there. Copy it when that gc is done; if it was killed, run "
                "kept gc there."
            )
        lacking = list(self._lacking(ends))
        transfer.spared(entry.size - sum(ends[blob] for blob in lacking))
        sizes: list[int] = []
        self._target.put_many(self._read(lacking, sizes), transfer)
        encoded = manifest.encode()
        self._target.put(manifest_key(entry.manifest), [encoded])
        self._there.update(ends)
        return len(sizes), sum(sizes)

    def _lacking(self, ends: dict[str, int]) -> Iterator[str]:
        asked = [blob for blob in ends if blob not in self._there]
        at_once = _AT_ONCE if self._target.is_remote else 1
        there = mapped(lambda blob: is_whole(self._target, blob, least=ends[blob]), asked, at_once)
        # A short one is what a writer without fsync leaves after a power cut.
        yield from (blob for blob, whole in zip(asked, there, strict=True) if not whole)

    def _read(self, blobs: Iterable[str], sizes: list[int]) -> Iterator[tuple[str, Parts]]:
        ahead = _READ_AHEAD if self._source.is_remote else 1
        read = mapped(lambda blob: (blob, read_blob(self._source, blob)), blobs, ahead)
        for blob, raw in read:
            sizes.append(len(raw))
            yield blob_key(blob), raw_form([raw])


def _ends(manifest: Manifest) -> dict[str, int]:
    """Return how many raw bytes of each blob the manifest needs at the least."""
    ends: dict[str, int] = {}
    for chunk in manifest.chunks():
        ends[chunk.blob] = max(ends.get(chunk.blob, 0), chunk.offset + chunk.size)
    return ends
