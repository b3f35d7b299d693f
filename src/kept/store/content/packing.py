"""Turns files into chunks and blobs, and leaves out the bytes that the store already has.

A chunk of PACK_BELOW bytes or more is one blob. Smaller new chunks are packed into blobs of about
PACK_SIZE bytes, because a thousand small files or requests cost far more than their bytes. The
manifest of the newest version gives the places of the small chunks that exist already.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from kept.digest import digest
from kept.store.blobs.blob import blob_key, is_whole, raw_form
from kept.store.content.chunking import cut
from kept.store.content.manifest import Chunk, File, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Bucket, Buffer, Parts
    from kept.bucket.transfer import Transfer
    from kept.store.content.find_files import Source
    from kept.store.log.fence import WriteFence

PACK_BELOW = 1024 * 1024
PACK_SIZE = 4 * 1024 * 1024
_SALT = 16  # random bytes in front, for another name

Place = tuple[str, int]  # blob, offset


class Packer:
    """Collects the chunks of a version; use it once.

    bytes_new counts the raw bytes of the blobs that were not in the store. No blob gets a condemned
    key: chunks of a condemned blob are stored again, in a blob of another name.
    """

    def __init__(
        self,
        bucket: Bucket,
        previous: Manifest | None,
        fence: WriteFence,
        transfer: Transfer | None = None,
    ) -> None:
        self._bucket = bucket
        self._condemned = fence.condemned
        self._transfer = transfer
        self._places = _places(bucket, previous, fence) if previous else {}
        self._pending: dict[str, Buffer] = {}
        self._pending_size = 0
        self._cut: list[tuple[Source, list[tuple[str, int]]]] = []
        self.bytes_new = 0
        self.written: set[str] = set()  # blobs

    def blobs(self, sources: Iterable[Source]) -> Iterator[tuple[str, Parts]]:
        """Yield key and stored form of every blob that the store lacks."""
        for source in sources:
            chunks: list[tuple[str, int]] = []
            for data in _read_chunks(source):
                name = digest(data)
                chunks.append((name, len(data)))
                if name not in self._places and name not in self._pending:
                    yield from self._add(name, data)
                else:
                    self._spare(data)
            self._cut.append((source, chunks))
        if self._pending:
            yield from self._flush()

    def manifest(self) -> Manifest:
        """Return the manifest, once blobs is exhausted."""
        return Manifest(
            tuple(
                File(source.path, sum(size for _, size in chunks), self._placed(chunks))
                for source, chunks in self._cut
            )
        )

    def part_blobs(self, parts: Iterable[bytes]) -> Iterator[tuple[str, Parts]]:
        """Yield key and stored form of every blob that the store lacks for parts of a manifest."""
        for data in parts:
            name = digest(data)
            if name not in self._places and name not in self._pending:
                yield from self._add(name, data)
        if self._pending:
            yield from self._flush()

    def with_parts(self, manifest: Manifest, parts: Iterable[bytes]) -> Manifest:
        """Return the manifest in parts, once part_blobs is exhausted."""
        return replace(manifest, parts=self._placed((digest(data), len(data)) for data in parts))

    def _placed(self, chunks: Iterable[tuple[str, int]]) -> tuple[Chunk, ...]:
        return tuple(Chunk(name, size, *self._places[name]) for name, size in chunks)

    def _add(self, name: str, data: Buffer) -> Iterator[tuple[str, Parts]]:
        if len(data) >= PACK_BELOW and blob_key(name) not in self._condemned:
            self._places[name] = (name, 0)
            yield from self._new(name, data)
        else:
            self._pending[name] = data
            self._pending_size += len(data)
            if self._pending_size >= PACK_SIZE:
                yield from self._flush()

    def _flush(self) -> Iterator[tuple[str, Parts]]:
        raw, offset = b"".join(self._pending.values()), 0
        blob = digest(raw)
        if blob_key(blob) in self._condemned:
            raw, offset = os.urandom(_SALT) + raw, _SALT
            blob = digest(raw)
        for name, data in self._pending.items():
            self._places[name] = (blob, offset)
            offset += len(data)
        self._pending, self._pending_size = {}, 0
        yield from self._new(blob, raw)

    def _new(self, blob: str, raw: Buffer) -> Iterator[tuple[str, Parts]]:
        # A writer without fsync leaves a blob of another length after a power cut.
        if not is_whole(self._bucket, blob, len(raw)):
            self.bytes_new += len(raw)
            self.written.add(blob)
            yield blob_key(blob), raw_form([raw])
        else:
            self._spare(raw)

    def _spare(self, data: Buffer) -> None:
        if self._transfer:
            self._transfer.spared(len(data))


def _places(bucket: Bucket, manifest: Manifest, fence: WriteFence) -> dict[str, Place]:
    """Return the places of a manifest's chunks whose blobs exist and stay.

    Object storage loses no blob, so the manifest suffices, except for blobs that are marked as
    damaged: with a request for every blob a version would cost as many requests as the model has
    tensors.
    """
    ends: dict[str, int] = {}
    for chunk in manifest.chunks():
        ends[chunk.blob] = max(ends.get(chunk.blob, 0), chunk.offset + chunk.size)
    existing = {blob for blob in ends if blob_key(blob) not in fence.condemned}
    asked = existing & fence.damaged if bucket.is_remote else existing
    existing -= {blob for blob in asked if not is_whole(bucket, blob, least=ends[blob])}
    return {c.digest: (c.blob, c.offset) for c in manifest.chunks() if c.blob in existing}


def _read_chunks(source: Source) -> Iterator[Buffer]:
    """Yield a file's chunks; raises InvalidPath if the file changes meanwhile."""
    with source.open() as file:
        for start, stop in cut(file):
            yield file.read(start, stop)
