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
from kept.store.content.shared_file import Part, SharedFile, Stored

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from kept.bucket.base import Bucket, Buffer, Parts
    from kept.bucket.transfer import Transfer
    from kept.store.content.find_files import Source
    from kept.store.content.shared_file import Place
    from kept.store.log.fence import WriteFence

PACK_BELOW = 1024 * 1024
PACK_SIZE = 4 * 1024 * 1024
_SALT = 16  # random bytes in front, for another name


class ChunkPacker:
    """Gives chunks their places in blobs.

    bytes_new counts the raw bytes of the blobs that were not in the store. No blob gets a condemned
    key: chunks of a condemned blob are stored again, in a blob of another name.
    """

    def __init__(
        self,
        bucket: Bucket,
        condemned: Collection[str],
        places: Mapping[str, Place] | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        """Take the places of chunks that exist already."""
        self._bucket = bucket
        self._condemned = condemned
        self._transfer = transfer
        self.places = dict(places or {})  # by the digests of chunks
        self._pending: dict[str, Buffer] = {}
        self._pending_size = 0
        self.bytes_new = 0
        self.written: set[str] = set()  # blobs

    def add(self, name: str, data: Buffer) -> Iterator[tuple[str, Parts]]:
        """Yield key and stored form of the blobs that the chunk completes."""
        if name in self.places or name in self._pending:
            self.spare(len(data))
        elif len(data) >= PACK_BELOW and blob_key(name) not in self._condemned:
            self.places[name] = (name, 0)
            yield from self._new(name, data)
        else:
            self._pending[name] = data
            self._pending_size += len(data)
            if self._pending_size >= PACK_SIZE:
                yield from self.flush()

    def flush(self) -> Iterator[tuple[str, Parts]]:
        """Yield the blob of the small chunks that are left, if there are any."""
        if not self._pending:
            return
        raw, offset = b"".join(self._pending.values()), 0
        blob = digest(raw)
        if blob_key(blob) in self._condemned:
            raw, offset = os.urandom(_SALT) + raw, _SALT
            blob = digest(raw)
        for name, data in self._pending.items():
            self.places[name] = (blob, offset)
            offset += len(data)
        self._pending, self._pending_size = {}, 0
        yield from self._new(blob, raw)

    def take(self, stored: Stored) -> None:
        """Take the places of chunks that another process has stored."""
        self.places.update(stored.places)
        self.bytes_new += stored.bytes_new
        self.written.update(stored.written)

    def placed(self, chunks: Iterable[tuple[str, int]]) -> tuple[Chunk, ...]:
        """Return chunks with their places."""
        return tuple(Chunk(name, size, *self.places[name]) for name, size in chunks)

    def spare(self, count: int) -> None:
        """Take bytes that need not be stored here off the total of the transfer."""
        if self._transfer:
            self._transfer.spared(count)

    def _new(self, blob: str, raw: Buffer) -> Iterator[tuple[str, Parts]]:
        # A writer without fsync leaves a blob of another length after a power cut.
        if not is_whole(self._bucket, blob, len(raw)):
            self.bytes_new += len(raw)
            self.written.add(blob)
            yield blob_key(blob), raw_form([raw])
        else:
            self.spare(len(raw))


class Packer:
    """Collects the chunks of a version; use it once."""

    def __init__(
        self,
        bucket: Bucket,
        previous: Manifest | None,
        fence: WriteFence,
        transfer: Transfer | None = None,
    ) -> None:
        places = _places(bucket, previous, fence) if previous else {}
        self._condemned = fence.condemned
        self._chunks = ChunkPacker(bucket, fence.condemned, places, transfer)
        self._cut: list[tuple[Source, list[tuple[str, int]]]] = []

    @property
    def bytes_new(self) -> int:
        """See ChunkPacker."""
        return self._chunks.bytes_new

    @property
    def written(self) -> frozenset[str]:
        """The blobs with these bytes."""
        return frozenset(self._chunks.written)

    def blobs(self, sources: Iterable[Source]) -> Iterator[tuple[str, Parts]]:
        """Yield key and stored form of every blob that the store lacks.

        Other processes store the parts that they hold meanwhile. The iterator ends when all of
        these are durable.
        """
        given = [*sources]
        shared = [one.file for one in given if isinstance(one.file, SharedFile)]
        asked = [file for file in shared if self._ask(file)]
        for source in given:
            chunks: list[tuple[str, int]] = []
            for part in _read_chunks(source):
                chunks.append((part.digest, part.size))
                if part.is_remote:
                    self._chunks.spare(part.size)
                else:
                    yield from self._chunks.add(part.digest, part.data)
            self._cut.append((source, chunks))
        yield from self._chunks.flush()
        for file in asked:
            for stored in file.holders.answers():
                self._chunks.take(stored)

    def manifest(self) -> Manifest:
        """Return the manifest, once blobs is exhausted."""
        return Manifest(
            tuple(
                File(source.path, sum(size for _, size in chunks), self._chunks.placed(chunks))
                for source, chunks in self._cut
            )
        )

    def part_blobs(self, parts: Iterable[bytes]) -> Iterator[tuple[str, Parts]]:
        """Yield key and stored form of every blob that the store lacks for parts of a manifest."""
        for data in parts:
            yield from self._chunks.add(digest(data), data)
        yield from self._chunks.flush()

    def with_parts(self, manifest: Manifest, parts: Iterable[bytes]) -> Manifest:
        """Return the manifest in parts, once part_blobs is exhausted."""
        placed = self._chunks.placed((digest(data), len(data)) for data in parts)
        return replace(manifest, parts=placed)

    def _ask(self, file: SharedFile) -> bool:
        """Ask the holders of a file for what the store and this process lack, each chunk once."""
        have = {part.digest for part in file.known if not part.is_remote}.union(self._chunks.places)
        lacking = {part.digest: part.holder for part in file.known if part.digest not in have}
        wanted: dict[int, list[str]] = {}
        for name, holder in lacking.items():
            wanted.setdefault(holder, []).append(name)
        if wanted:
            file.holders.ask(wanted, self._condemned)
        return bool(wanted)


def store_chunks(
    bucket: Bucket, chunks: Iterable[tuple[str, Buffer]], condemned: Collection[str]
) -> Stored:
    """Store chunks, given with their digests, durably; for a process that does not commit.

    The caller has the condemned keys from the WriteFence of the process that commits.
    """
    packer = ChunkPacker(bucket, condemned)

    def blobs() -> Iterator[tuple[str, Parts]]:
        for name, data in chunks:
            yield from packer.add(name, data)
        yield from packer.flush()

    bucket.put_many(blobs())
    return Stored(packer.places, packer.bytes_new, packer.written)


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


def _read_chunks(source: Source) -> Iterator[Part]:
    """Yield a file's chunks; raises InvalidPath if the file changes meanwhile."""
    with source.open() as file:
        if isinstance(file, SharedFile):
            for part in file.chunks():
                file.holders.at_work()
                yield part
            return
        for start, stop in cut(file):
            data = memoryview(file.read(start, stop))
            yield Part(digest(data), data)
