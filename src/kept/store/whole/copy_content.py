"""Copies the content of a version to another bucket: only the blobs that it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import BeingCollected
from kept.parallel import mapped
from kept.store.blobs.blob import blob_key, is_whole, raw_form, read_blob
from kept.store.content.manifest import manifest_key
from kept.store.content.put_manifest import put_manifest
from kept.store.content.read_manifest import read_manifest
from kept.store.format_marker import PARTS_FORMAT, raise_format

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from kept.bucket.base import Bucket, Parts
    from kept.bucket.transfer import Transfer
    from kept.store.content.manifest import Manifest
    from kept.store.log.history import VersionRecord

_READ_AHEAD = 4  # blobs; fewer, because they take memory


class ContentCopy:
    """Copies blobs and manifests, and remembers which blobs the target has."""

    def __init__(self, source: Bucket, target: Bucket) -> None:
        self._source, self._target = source, target
        self._present: set[str] = set()
        self._gcs: frozenset[str] = frozenset()

    def forget(self, blobs: Collection[str] | None = None) -> None:
        """Forget which blobs the target has, or some: a gc deletes there, or they are damaged."""
        self._present -= set(self._present if blobs is None else blobs)

    def forget_after(self, gcs: frozenset[str]) -> None:
        """Forget all blobs if the target has other lists or rounds of gcs than the last time."""
        if gcs != self._gcs:
            self._present.clear()
        self._gcs = gcs

    def copy(
        self, record: VersionRecord, condemned: frozenset[str], transfer: Transfer
    ) -> tuple[int, int]:
        """Bring a version's content to the target; return the blobs and bytes that it lacked.

        The transfer counts every byte of the version, moved or spared. copy checks all bytes.
        Raises Damaged, or BeingCollected if a key is condemned: a copy cannot use another key.
        """
        manifest = read_manifest(self._source, record)
        ends = _ends(manifest)
        if condemned & {manifest_key(record.manifest), *map(blob_key, ends)}:
            raise BeingCollected(
                f"A gc is about to delete bytes in {self._target.location} that version "
                f"v{record.index} needs there. Copy it after that gc. If that gc was killed, run "
                "kept gc there: on the machine of that gc it removes the list of keys at once, "
                "elsewhere when the list is an hour old."
            )
        lacking = list(self._lacking(ends))
        transfer.spared(record.size - sum(ends[blob] for blob in lacking))
        sizes: list[int] = []
        self._target.put_many(self._read(lacking, sizes), transfer)
        encoded = manifest.encode()
        if manifest.parts:
            raise_format(self._target, PARTS_FORMAT)
        put_manifest(self._target, record.manifest, encoded)
        self._present.update(ends)
        return len(sizes), sum(sizes)

    def _lacking(self, ends: dict[str, int]) -> Iterator[str]:
        asked = [blob for blob in ends if blob not in self._present]
        at_once = self._target.concurrency
        found = mapped(lambda blob: is_whole(self._target, blob, least=ends[blob]), asked, at_once)
        # A writer without fsync leaves short blobs after a power cut.
        yield from (blob for blob, whole in zip(asked, found, strict=True) if not whole)

    def _read(self, blobs: Iterable[str], sizes: list[int]) -> Iterator[tuple[str, Parts]]:
        ahead = _READ_AHEAD if self._source.is_remote else 1
        read = mapped(lambda blob: (blob, read_blob(self._source, blob)), blobs, ahead)
        for blob, raw in read:
            sizes.append(len(raw))
            yield blob_key(blob), raw_form([raw])


def _ends(manifest: Manifest) -> dict[str, int]:
    """Return the raw bytes of each blob that the manifest needs, counted from its start."""
    ends: dict[str, int] = {}
    for chunk in manifest.chunks():
        ends[chunk.blob] = max(ends.get(chunk.blob, 0), chunk.offset + chunk.size)
    return ends
