"""The manifest: a version's files, their chunks, and the places of the chunks in blobs.

A file is exactly the concatenation of its chunks. A chunk of PACK_BELOW bytes or more is one blob;
smaller chunks share blobs, so the manifest names the blob and the offset in it.

A list of more than MOST_FILES files is cut into parts, and each part is stored as a chunk like
those of files. So a version of many files stores only the parts that changed, and gc, mirrors,
verify and repair treat the parts like all other chunks.

The content digest, a version's identity, covers paths, sizes and chunks, but not the places of
chunks: the same content has the same identity whatever was in the store before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kept.digest import digest
from kept.errors import Damaged, InvalidPath
from kept.store.blobs.blob import blob_key
from kept.store.encoding import MOST_MEMORY, MOST_VALUE, Json, canonical, memory_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MOST_FILES = 10_000  # that a manifest itself lists
_PART_ENDS = b"\0\x80"  # a path whose digest begins with nine zero bits is the last of its part


@dataclass(frozen=True, slots=True)
class Chunk:
    """A contiguous range of a file: the digest and number of its bytes, and their place."""

    digest: str
    size: int
    blob: str  # the digest of the raw bytes of the blob that holds the chunk
    offset: int = 0  # of the chunk in the blob's raw bytes

    @property
    def is_blob(self) -> bool:
        """Whether the chunk begins the blob of its own digest, and so is all of it."""
        return self.blob == self.digest and not self.offset


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
    parts: tuple[Chunk, ...] = ()  # where the list of the files is stored, if it has parts

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @cached_property
    def digest(self) -> str:
        """The content digest: of the files, not of the places of their chunks."""
        return digest(canonical([_identity(file) for file in self.files]))

    def file_chunks(self) -> Iterator[Chunk]:
        """Yield the chunks of all files, one after the other."""
        for file in self.files:
            yield from file.chunks

    def chunks(self) -> Iterator[Chunk]:
        """Yield all chunks that the version needs: those of its files, then its parts."""
        yield from self.file_chunks()
        yield from self.parts

    def encode(self) -> bytes:
        """Return the manifest as it is stored; raises InvalidPath for more than readers take."""
        blobs = list(dict.fromkeys(c.blob for c in self._listed() if not c.is_blob))
        number = {blob: n for n, blob in enumerate(blobs)}
        if self.parts:
            return canonical({"blobs": blobs, "parts": _encoded(self.parts, number)})
        files = [
            {"path": file.path, "size": file.size, "chunks": _encoded(file.chunks, number)}
            for file in self.files
        ]
        data = canonical({"blobs": blobs, "files": files})
        _check_bounds([data], len(self.files))
        return data

    def encode_parts(self) -> list[bytes]:
        """Return the parts of the list of files, none if the manifest itself lists them.

        Each is a manifest of its files. A changed file changes no part but its own, because the
        paths alone say where the list is cut. Raises InvalidPath like encode.
        """
        if len(self.files) <= MOST_FILES:
            return []
        parts: list[list[File]] = [[]]
        for file in self.files:
            parts[-1].append(file)
            if bytes.fromhex(digest(file.path.encode())[:4]) < _PART_ENDS:
                parts.append([])
        data = [Manifest(tuple(part)).encode() for part in parts if part]
        _check_bounds(data, len(self.files))
        return data

    def _listed(self) -> Iterator[Chunk]:
        return iter(self.parts) if self.parts else self.file_chunks()


def _encoded(chunks: Iterable[Chunk], number: Mapping[str, int]) -> list[list[str | int]]:
    return [
        [c.digest, c.size] if c.is_blob else [c.digest, c.size, number[c.blob], c.offset]
        for c in chunks
    ]


def _check_bounds(data: list[bytes], files: int) -> None:
    size = sum(map(len, data))
    if size > MOST_VALUE or sum(map(memory_of, data)) > MOST_MEMORY:
        raise InvalidPath(
            f"A version with this many files needs a list of {size} bytes, which is more than "
            "readers take. Put the files into archives, or into several versions. "
            f"Received: {files} files"
        )


def _identity(file: File) -> Json:
    return [file.path, file.size, [[chunk.digest, chunk.size] for chunk in file.chunks]]


def manifest_key(name: str) -> str:
    """Return the key of the manifest with that digest."""
    return f"manifests/{name[:2]}/{name}.json"


def take_chunk(raw: memoryview, chunk: Chunk) -> memoryview:
    """Return a chunk from its blob's raw bytes, checked; raises Damaged."""
    piece = raw[chunk.offset : chunk.offset + chunk.size]
    if len(piece) != chunk.size:
        raise Damaged(
            f"{blob_key(chunk.blob)} is cut short: expected {chunk.size} bytes at {chunk.offset}, "
            f"found {len(piece)}"
        )
    is_all = chunk.is_blob and len(piece) == len(raw)  # read_blob has checked it
    if not is_all and digest(piece) != chunk.digest:
        raise Damaged(
            f"{blob_key(chunk.blob)} does not hold chunk {chunk.digest} at {chunk.offset}"
        )
    return piece
