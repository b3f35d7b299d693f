"""The manifest: a version's files, their chunks, and the places of the chunks in blobs.

A file is exactly the concatenation of its chunks. A chunk of PACK_BELOW bytes or more is one blob;
smaller chunks share blobs, so the manifest names the blob and the offset in it.

The content digest, a version's identity, covers paths, sizes and chunks, but not the places of
chunks: the same content has the same identity whatever was in the store before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kept.digest import DIGEST, digest
from kept.errors import Damaged, InvalidPath, KeyNotFound
from kept.names import check_paths
from kept.store.blobs.blob import blob_key
from kept.store.encoding import Json, canonical, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket, Buffer
    from kept.store.log.history import VersionRecord


@dataclass(frozen=True, slots=True)
class Chunk:
    """A contiguous range of a file: the digest and number of its bytes, and their place."""

    digest: str
    size: int
    blob: str  # the digest of the raw bytes of the blob that holds the chunk
    offset: int = 0  # of the chunk in the blob's raw bytes


@dataclass(frozen=True, slots=True)
class File:
    """One path inside a version."""

    path: str
    size: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Manifest:
    """The files of a version, in the order of their paths."""

    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @cached_property
    def digest(self) -> str:
        """The content digest: of the files, not of the places of their chunks."""
        return digest(canonical([_identity(file) for file in self.files]))

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks of all files, one after the other."""
        for file in self.files:
            yield from file.chunks

    def encode(self) -> bytes:
        """Return the manifest as it is stored."""
        blobs = list(dict.fromkeys(c.blob for c in self.chunks() if c.blob != c.digest))
        number = {blob: n for n, blob in enumerate(blobs)}
        files = [
            {
                "path": file.path,
                "size": file.size,
                "chunks": [
                    [c.digest, c.size] if c.blob == c.digest
                    else [c.digest, c.size, number[c.blob], c.offset]
                    for c in file.chunks
                ],
            }
            for file in self.files
        ]  # fmt: skip
        return canonical({"blobs": blobs, "files": files})

    @classmethod
    def decode(cls, data: Buffer, key: str) -> Manifest:
        """Read the stored form, and check every rule of the format; raises Damaged."""
        value = parse(data, key)
        try:
            blobs = value["blobs"]
            files = tuple(_file(item, blobs) for item in value["files"])
            check_paths(file.path for file in files)
        except (KeyError, TypeError, ValueError, IndexError, InvalidPath) as error:
            raise Damaged(f"{key} is not a manifest of format 1: {error}") from None
        return cls(files)


def _identity(file: File) -> Json:
    return [file.path, file.size, [[chunk.digest, chunk.size] for chunk in file.chunks]]


def _file(item: Json, blobs: list[str]) -> File:
    chunks = tuple(_chunk(each, blobs) for each in item["chunks"])
    if type(item["size"]) is not int or sum(chunk.size for chunk in chunks) != item["size"]:
        raise ValueError(f"the chunks of {item['path']!r} do not add up to its size")
    return File(item["path"], item["size"], chunks)


def _chunk(item: Json, blobs: list[str]) -> Chunk:
    name, size, *place = item
    number, offset = place or (None, 0)
    blob = name if number is None else blobs[number]
    if not (DIGEST.fullmatch(name) and DIGEST.fullmatch(blob)):
        raise ValueError(f"{item!r} holds no digest")
    if not all(type(n) is int and n >= 0 for n in (size, offset, *place)):
        raise ValueError(f"{item!r} holds a number that is no count of bytes")
    return Chunk(name, size, blob, offset)


def manifest_key(name: str) -> str:
    """Return the key of the manifest with that digest."""
    return f"manifests/{name[:2]}/{name}.json"


def read_manifest(bucket: Bucket, record: VersionRecord) -> Manifest:
    """Return a version's manifest, checked; raises Damaged."""
    key = manifest_key(record.manifest)
    try:
        data = bucket.get(key)
    except KeyNotFound:
        raise Damaged(f"{key} is missing from {bucket.location}") from None
    if digest(data) != record.manifest:
        raise Damaged(f"{key} is damaged: its {len(data)} bytes have another digest than its name")
    manifest = Manifest.decode(data, key)
    if (manifest.digest, manifest.size) != (record.digest, record.size):
        raise Damaged(
            f"{key} does not match the log: expected digest {record.digest} and {record.size} "
            f"bytes, found {manifest.digest} and {manifest.size}"
        )
    return manifest


def take_chunk(raw: memoryview, chunk: Chunk) -> memoryview:
    """Return a chunk from its blob's raw bytes, checked; raises Damaged."""
    piece = raw[chunk.offset : chunk.offset + chunk.size]
    if chunk.blob != chunk.digest and digest(piece) != chunk.digest:
        raise Damaged(
            f"{blob_key(chunk.blob)} does not hold chunk {chunk.digest} at {chunk.offset}"
        )
    if len(piece) != chunk.size:
        raise Damaged(
            f"{blob_key(chunk.blob)} is cut short: expected {chunk.size} bytes at {chunk.offset}, "
            f"found {len(piece)}"
        )
    return piece
