"""A file of a version that is read in ranges, without a copy of the whole."""

from __future__ import annotations

import bisect
import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING

from kept.store.content.file_source import Positioned
from kept.store.content.restore import ChunkReader, check_blobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Bucket
    from kept.store.content.manifest import File

_IN_MEMORY = 32 * 1024 * 1024  # bytes of chunks
_LARGE = 1024 * 1024  # bytes of a chunk that is likely a part of a tensor


class RangedFile(Positioned):
    """A file object for h5py and zipfile. Each chunk is read as a whole, and checked.

    It keeps the chunks that it read last, because neighbours are read one after the other. One
    thread at a time may use it.
    """

    def __init__(self, bucket: Bucket, file: File, reader: ChunkReader | None = None) -> None:
        """Read with a reader of chunks that others may share, or with an own one."""
        self.name = file.path
        self._size = file.size
        self._chunks = file.chunks
        self._ends = list(itertools.accumulate(chunk.size for chunk in file.chunks))
        self._begins = [0, *self._ends[:-1]]
        self._bucket, self._reader = bucket, reader or ChunkReader(bucket)
        self._held: OrderedDict[int, memoryview] = OrderedDict()  # the one used last is last
        self.bytes_read = 0  # of chunks
        # Chunks that read answers with zeros, and those that it has answered so.
        self._hidden: frozenset[int] = frozenset()
        self._asked: set[int] = set()

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._size

    def read(self, size: int = -1) -> bytes:
        """Return size bytes from the position, or all up to the end; raises Damaged."""
        stop = self._size if size < 0 else min(self._at + size, self._size)
        data = b"".join(self._read(self._at, stop, self._hidden))
        self._at += len(data)
        return data

    def parts(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the bytes from start up to stop, chunk by chunk; raises Damaged."""
        return self._read(start, stop, frozenset())

    def hide_values(self, least: int = _LARGE) -> None:
        """Let read return zeros in place of chunks of `least` bytes or more, which are not fetched.

        HDF5 reads some bytes more than its metadata have, and so the first ones of a tensor. A
        caller then calls are_values, because only values may be hidden.
        """
        self._hidden = frozenset(
            index for index, chunk in enumerate(self._chunks) if chunk.size >= least
        )
        self._asked = set()

    def are_values(self, ranges: Iterable[tuple[int, int]]) -> bool:
        """Hide the chunks in these ranges only; return whether read has hidden no others."""
        found: set[int] = set()
        for start, stop in ranges:
            first = bisect.bisect_left(self._begins, start)
            found.update(range(first, bisect.bisect_right(self._ends, stop)))
        self._hidden &= found
        return self._asked <= found

    def show_values(self) -> None:
        """Hide nothing."""
        self._hidden = frozenset()

    def _read(self, start: int, stop: int, hidden: frozenset[int]) -> Iterator[memoryview]:
        for index in range(bisect.bisect_right(self._ends, start), len(self._ends)):
            begin = self._ends[index] - self._chunks[index].size
            if begin >= stop:
                return
            inside = slice(max(start - begin, 0), stop - begin)
            if index in hidden and index not in self._held:
                self._asked.add(index)
                yield memoryview(bytes(len(range(*inside.indices(self._chunks[index].size)))))
            else:
                yield self._chunk(index)[inside]

    def release(self) -> None:
        """Free the memory of the chunks that it holds."""
        self._held.clear()

    def check(self, share: int = 0, shares: int = 1) -> None:
        """Raise Damaged if blobs are missing or too short; it reads no content.

        With shares it checks a part of the blobs, so that several processes divide the work.
        """
        ends: dict[str, int] = {}
        for chunk in self._chunks:
            ends[chunk.blob] = max(ends.get(chunk.blob, 0), chunk.offset + chunk.size)
        check_blobs(self._bucket, dict([*ends.items()][share::shares]))

    def write(self, *_: object) -> int:
        raise OSError("opened for reading")

    def truncate(self, *_: object) -> int:
        raise OSError("opened for reading")

    def _chunk(self, index: int) -> memoryview:
        found = self._held.pop(index, None)
        if found is None:
            size = self._chunks[index].size
            while self._held and sum(map(len, self._held.values())) + size > _IN_MEMORY:
                self._held.popitem(last=False)
            found = self._reader.read(self._chunks[index])
            self.bytes_read += size
        self._held[index] = found
        return found
