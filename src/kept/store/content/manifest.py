"""The manifest: a version's files, their chunks, and the places of the chunks in blobs.

A file is exactly the concatenation of its chunks. A chunk of PACK_BELOW bytes or more is one blob;
smaller chunks share blobs, so the manifest names the blob and the offset in it.

The content digest, a version's identity, covers paths, sizes and chunks, but not the places of
chunks: the same content has the same identity whatever was in the store before it.
"""

from __future__ import annotations

import itertools
import reprlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kept.digest import DIGEST, digest
from kept.errors import Damaged, InvalidPath, KeyNotFound
from kept.names import check_paths
from kept.store.blobs.blob import blob_key
from kept.store.blobs.header import MOST
from kept.store.encoding import (
    MOST_MEMORY,
    MOST_VALUE,
    Json,
    canonical,
    memory_of,
    parse,
    read_bounded,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket, Buffer
    from kept.store.log.history import VersionRecord


_MOST_FILE = 2**63 - 1  # bytes
_SHORT = 200  # characters of a message that come from a manifest


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
        """Return the manifest as it is stored; raises InvalidPath for more than readers take."""
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
        data = canonical({"blobs": blobs, "files": files})
        if len(data) > MOST_VALUE or memory_of(data) > MOST_MEMORY:
            raise InvalidPath(
                f"A version with this many files needs a list of {len(data)} bytes, which is more "
                "than readers take. Put the files into archives, or into several versions. "
                f"Received: {len(self.files)} files"
            )
        return data

    @classmethod
    def decode(cls, data: Buffer, key: str) -> Manifest:
        """Read the stored form, and check every rule of the format; raises Damaged.

        The memory that this takes is bounded, whatever the bytes are.
        """
        if memory_of(bytes(data)) > MOST_MEMORY:
            raise Damaged(f"{key} is damaged: a manifest of {len(data)} bytes has too many values")
        value = parse(data, key)
        try:
            return cls(_files(value))
        except (_Malformed, InvalidPath) as error:
            raise Damaged(f"{key} is not a manifest of format 1: {_short(str(error))}") from None


class _Malformed(Exception):
    """The JSON of a manifest breaks a rule of the format."""


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"


def _identity(file: File) -> Json:
    return [file.path, file.size, [[chunk.digest, chunk.size] for chunk in file.chunks]]


def _files(value: Json) -> tuple[File, ...]:
    blobs = _list(value, "blobs")
    if not all(_is_digest(blob) for blob in blobs):
        raise _Malformed("blobs holds something else than digests")
    files = tuple(_file(item, blobs) for item in _list(value, "files"))
    check_paths((file.path for file in files), stored=True)
    for before, after in itertools.pairwise(files):
        if before.path >= after.path:
            raise _Malformed(f"{reprlib.repr(after.path)} is not in the order of paths")
    return files


def _list(value: Json, key: str) -> list[Json]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise _Malformed(f"expected an object with the list {key!r}, found {reprlib.repr(found)}")
    return found


def _file(item: Json, blobs: list[str]) -> File:
    chunks = tuple(_chunk(each, blobs) for each in _list(item, "chunks"))
    path, size = item.get("path"), item.get("size")
    if not isinstance(path, str):
        raise _Malformed(f"a path is a text, found {reprlib.repr(path)}")
    if not _is_count(size, _MOST_FILE) or sum(chunk.size for chunk in chunks) != size:
        raise _Malformed(f"the chunks of {reprlib.repr(path)} do not add up to its size")
    return File(path, size, chunks)


def _chunk(item: Json, blobs: list[str]) -> Chunk:
    """Return a chunk: [digest, size], or [digest, size, number of the blob, offset]."""
    if not isinstance(item, list) or len(item) not in (2, 4):
        raise _Malformed(f"a chunk is a list of 2 or 4, found {reprlib.repr(item)}")
    name, size, *place = item
    number, offset = place or (0, 0)
    if place and not _is_count(number, len(blobs) - 1):
        raise _Malformed(f"{reprlib.repr(item)} names no blob")
    if not _is_digest(name):
        raise _Malformed(f"{reprlib.repr(item)} holds no digest")
    if not (_is_count(size, MOST) and _is_count(offset, MOST - size)):
        raise _Malformed(f"{reprlib.repr(item)} does not lie within the {MOST} bytes of a blob")
    return Chunk(name, size, blobs[number] if place else name, offset)


def _is_digest(value: Json) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def _is_count(value: Json, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def manifest_key(name: str) -> str:
    """Return the key of the manifest with that digest."""
    return f"manifests/{name[:2]}/{name}.json"


def read_manifest(bucket: Bucket, record: VersionRecord) -> Manifest:
    """Return a version's manifest, checked; raises Damaged."""
    key = manifest_key(record.manifest)
    try:
        data = read_bounded(bucket, key, MOST_VALUE)
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
    if len(piece) != chunk.size:
        raise Damaged(
            f"{blob_key(chunk.blob)} is cut short: expected {chunk.size} bytes at {chunk.offset}, "
            f"found {len(piece)}"
        )
    is_all = chunk.blob == chunk.digest and len(piece) == len(raw)  # read_blob has checked it
    if not is_all and digest(piece) != chunk.digest:
        raise Damaged(
            f"{blob_key(chunk.blob)} does not hold chunk {chunk.digest} at {chunk.offset}"
        )
    return piece
