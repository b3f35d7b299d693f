"""A file in memory that refers to bytes which are in memory already.

h5py and zipfile write into it as into any file. Nearly all bytes of a checkpoint are tensors that
the snapshot has, so the file needs almost no memory of its own.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Protocol

from kept.store.content.file_source import Positioned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Buffer

_WORTH_IT = 64 * 1024  # bytes of one write; HDF5 collects smaller ones in a buffer of this size


class Memory(Protocol):
    """Memory that may have the bytes of a write already."""

    def find(self, written: memoryview) -> memoryview | None:
        """Return the same bytes in memory that does not change while the file is used, or None."""


class LastingMemory:
    """Finds each write where the writer has it, for a writer that never changes that memory."""

    def find(self, written: memoryview) -> memoryview:
        return written


class ComposedFile(Positioned):
    """A file object for writing; parts returns its content.

    It refers to a large write if memory has its bytes, and copies all others.

    Invariant: the file is its own bytes with references in between, ascending and not overlapping.
    A reference is added only behind all other bytes, so no own byte has to move.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._own = bytearray()
        self._starts: list[int] = []  # of the references
        self._references: list[memoryview] = []
        self._before: list[int] = []  # referenced bytes before each reference
        self._size = 0

    def parts(self) -> list[Buffer]:
        """Return the file's bytes; nothing can be written afterwards."""
        return list(self._read(0, self._size))

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self._size

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        if not view:
            return 0
        start, self._at = self._at, self._at + len(view)
        if start < self._size or len(view) < _WORTH_IT or not self._refer(start, view):
            self._copy(start, view)
        self._size = max(self._size, self._at)
        return len(view)

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._at + size, self._size)
        # Copies, because a bytearray cannot grow while it has a view.
        data = b"".join(bytes(part) for part in self._read(self._at, stop))
        self._at += len(data)
        return data

    def truncate(self, size: int | None = None) -> int:
        """Shorten the file; as with io.BytesIO, it does not get longer."""
        size = self._at if size is None else size
        if size < self._size:
            while self._starts and self._end(-1) > size:
                self._copy_reference(len(self._starts) - 1)
            del self._own[self._place(size) :]
            self._size = size
        return size

    def _refer(self, start: int, view: memoryview) -> bool:
        found = self._memory.find(view)
        if found is None:
            return False
        self._extend(self._place(start))
        self._before.append(self._before[-1] + len(self._references[-1]) if self._before else 0)
        self._starts.append(start)
        self._references.append(found)
        return True

    def _copy(self, start: int, view: memoryview) -> None:
        """Write into the own bytes, after copying the references that the write overlaps."""
        stop = start + len(view)
        index = bisect.bisect_left(self._starts, stop) - 1
        while index >= 0 and self._end(index) > start:
            self._copy_reference(index)
            index -= 1
        place = self._place(start)
        self._extend(place)  # with zeros, if the write begins behind the end
        self._own[place : place + len(view)] = view

    def _extend(self, length: int) -> None:
        self._own.extend(bytes(max(length - len(self._own), 0)))

    def _copy_reference(self, index: int) -> None:
        """Replace a reference by a copy of its bytes."""
        start, found = self._starts.pop(index), self._references.pop(index)
        del self._before[index]
        self._before[index:] = [before - len(found) for before in self._before[index:]]
        place = self._place(start)
        self._own[place:place] = found

    def _end(self, index: int) -> int:
        return self._starts[index] + len(self._references[index])

    def _place(self, offset: int) -> int:
        """Return the index in the own bytes of a file's offset that is in no reference."""
        index = bisect.bisect_left(self._starts, offset) - 1
        if index < 0:
            return offset
        return offset - self._before[index] - len(self._references[index])

    def _read(self, start: int, stop: int) -> Iterator[memoryview]:
        own = memoryview(self._own)
        index = max(bisect.bisect_right(self._starts, start) - 1, 0)
        while start < stop:
            last = index == len(self._starts)
            begin = stop if last else min(self._starts[index], stop)
            if start < begin:
                place = self._place(start)
                yield own[place : place + begin - start]
                start = begin
            elif start < self._end(index):
                offset = start - begin
                yield self._references[index][offset : offset + stop - start]
                start, index = min(self._end(index), stop), index + 1
            else:
                index += 1
