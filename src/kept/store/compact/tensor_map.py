"""Finds the places of a version's tensors in its blobs, from the stored files themselves.

So a version stores nothing about tensors, and stores of any age can be coded.
"""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, NamedTuple

from kept.store.blobs.header import BIG_ENDIAN, MOST_SECTIONS, Section
from kept.store.content.chunking import Tensor, tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.content.manifest import Chunk, File, Manifest
    from kept.store.content.restore import ChunkReader

_LEAST = 64  # bytes; the description of a section takes 16

Key = tuple[int, str, int]  # the number of a file with tensors, tensor, first byte in it


class Piece(NamedTuple):
    """A range of a blob's raw bytes that holds elements of a tensor."""

    offset: int
    section: Section
    key: Key


class Layout:
    """The pieces of tensors in each blob of a version, and the place of each piece."""

    def __init__(self, reader: ChunkReader, manifest: Manifest) -> None:
        self._pieces: dict[str, dict[int, Piece]] = {}
        self._places: dict[Key, tuple[str, Piece]] = {}
        numbers = itertools.count()  # not paths: they may contain an epoch
        for file in manifest.files:
            found = tensors(StoredFile(reader, file))
            if any(tensor.name for tensor in found):
                self._add(next(numbers), file, found)

    def pieces(self, blob: str) -> list[Piece]:
        """Return the pieces in a blob in their order; none overlaps another."""
        found: list[Piece] = []
        end = 0
        for offset, piece in sorted(self._pieces.get(blob, {}).items()):
            if offset >= end and len(found) < MOST_SECTIONS // 2 - 1:
                found.append(piece)
                end = offset + piece.section.size
        return found

    def place(self, piece: Piece) -> tuple[str, int] | None:
        """Return blob and offset of the same piece in this version, if it is as long here."""
        blob, own = self._places.get(piece.key, ("", piece))
        return (blob, own.offset) if blob and own.section == piece.section else None

    def _add(self, number: int, file: File, found: list[Tensor]) -> None:
        start = 0
        starts = [tensor.start for tensor in found]
        for chunk in file.chunks:
            first = max(bisect.bisect_right(starts, start) - 1, 0)
            for tensor in itertools.islice(found, first, None):
                if tensor.start >= start + chunk.size:
                    break
                self._add_part(number, tensor, chunk, start)
            start += chunk.size

    def _add_part(self, number: int, tensor: Tensor, chunk: Chunk, chunk_start: int) -> None:
        begin, end = max(tensor.start, chunk_start), min(tensor.stop, chunk_start + chunk.size)
        size, skipped = end - begin, begin - tensor.start
        if not tensor.name or size < _LEAST or size % tensor.width or skipped % tensor.width:
            return
        flags = BIG_ENDIAN if tensor.is_big_endian else 0
        offset = chunk.offset + begin - chunk_start
        key = (number, tensor.name, skipped)
        piece = Piece(offset, Section(size, tensor.width, flags), key)
        self._pieces.setdefault(chunk.blob, {}).setdefault(offset, piece)
        self._places.setdefault(key, (chunk.blob, piece))


class StoredFile:
    """A file of a version as a FileSource; reads only the requested chunks, and keeps one."""

    def __init__(self, reader: ChunkReader, file: File) -> None:
        self._reader, self._chunks = reader, file.chunks
        self._ends = list(itertools.accumulate(chunk.size for chunk in file.chunks))
        self._last: tuple[Chunk, memoryview] | None = None

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, stop: int) -> bytes:
        """Return a range of the bytes; raises Damaged."""
        return b"".join(self._within(start, stop))

    def _within(self, start: int, stop: int) -> Iterator[memoryview]:
        for index in range(bisect.bisect_right(self._ends, start), len(self._chunks)):
            chunk = self._chunks[index]
            begin = self._ends[index] - chunk.size
            if begin >= stop:
                return
            yield self._chunk(chunk)[max(start - begin, 0) : stop - begin]

    def _chunk(self, chunk: Chunk) -> memoryview:
        if self._last is None or self._last[0] != chunk:
            self._last = (chunk, self._reader.read(chunk))
        return self._last[1]
