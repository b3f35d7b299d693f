"""The bytes of a file whose tensors are read: of a version in a store, or on the disk."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import struct
from functools import cached_property
from typing import TYPE_CHECKING

from kept.digest import digest
from kept.errors import KeptError
from kept.store.blobs.blob import HEADER, MAGIC, RAW, blob_key
from kept.store.content.chunking import cut
from kept.store.content.find_files import find_sources
from kept.store.content.manifest import Chunk
from kept.store.content.ranged_file import RangedFile
from kept.store.content.restore import ChunkReader
from kept.store.tensors.tensor import Piece

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket, Buffer
    from kept.store.content.chunking import Range
    from kept.store.content.file_source import FileSource
    from kept.store.content.manifest import File

_REQUEST = 128 * 1024  # bytes that a server sends in about the time of a request


class PartReader(ChunkReader):
    """Reads a chunk out of a pack alone; it reads all of a server's pack if that is faster."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(bucket)
        self._store = bucket
        self._asked: dict[str, int] = {}  # how often for a part of a pack
        self._raw: dict[str, int] = {}  # the bytes of a pack; 0 if it is not stored as it is

    def read(self, chunk: Chunk) -> memoryview:
        """Return a chunk's bytes; raises Damaged."""
        found = None if chunk.blob == chunk.digest else self._part(chunk)
        return super().read(chunk) if found is None else found

    def _part(self, chunk: Chunk) -> memoryview | None:
        count = self._asked[chunk.blob] = self._asked.get(chunk.blob, 0) + 1
        size = self._raw_size(chunk.blob)
        if not size or (self._store.is_remote and count * _REQUEST > size):
            return None
        with contextlib.suppress(KeptError):
            data = self._store.get(blob_key(chunk.blob), HEADER.size + chunk.offset, chunk.size)
            if len(data) == chunk.size and digest(data) == chunk.digest:
                return memoryview(data)
        return None  # the reader of whole blobs names what is wrong

    def _raw_size(self, blob: str) -> int:
        if blob not in self._raw:
            self._raw[blob] = 0
            with contextlib.suppress(KeptError, struct.error):
                head = bytes(self._store.get(blob_key(blob), 0, HEADER.size))
                magic, codec, size = HEADER.unpack(head)
                self._raw[blob] = size if (magic, codec) == (MAGIC, RAW) else 0
        return self._raw[blob]


class VersionSource:
    """A file of a version; only the requested chunks are read, each is checked."""

    def __init__(self, bucket: Bucket, file: File, reader: PartReader) -> None:
        """Take the reader that all files of a version share, because they share packs."""
        self.path, self.chunks, self.is_remote = file.path, file.chunks, bucket.is_remote
        self._bucket, self._described = bucket, file
        self._file = RangedFile(bucket, file, reader)
        self._is_hiding = False
        self.failed: KeptError | None = None  # a reader of HDF5 may replace it by its own error

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._file.size

    @property
    def bytes_read(self) -> int:
        """The bytes of the chunks that were read."""
        return self._file.bytes_read

    def read(self, start: int, stop: int) -> Buffer:
        """Return a range of the bytes; raises Damaged."""
        try:
            return self._read(start, stop)
        except KeptError as error:
            self.failed = error
            raise

    def _read(self, start: int, stop: int) -> Buffer:
        if self._is_hiding:
            self._file.seek(start)
            return self._file.read(max(stop - start, 0))
        found = list(self._file.parts(start, min(stop, self.size)))
        return found[0] if len(found) == 1 else b"".join(found)

    def hides(self, least: int | None) -> None:
        """Let read answer with zeros for chunks of `least` bytes or more; None hides nothing."""
        self._is_hiding = least is not None
        if least is None:
            self._file.show_values()
        else:
            self._file.hide_values(least)

    def are_values(self, ranges: list[Range]) -> bool:
        """Return whether all hidden chunks that were asked for lie in these ranges."""
        return self._file.are_values(ranges)

    def release(self) -> None:
        """Free the memory of the chunks that it holds."""
        self._file.release()

    def again(self, reader: PartReader) -> VersionSource:
        """Return the same file for another thread, which has another reader."""
        return VersionSource(self._bucket, self._described, reader)


class DiskSource:
    """A file on the disk; if its chunks are needed, it is cut and hashed as for a version."""

    is_remote = False
    failed: KeptError | None = None

    def __init__(self, path: str, file: FileSource) -> None:
        self.path, self._file = path, file
        self.bytes_read = 0

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._file.size

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks that a store would cut the file into."""
        found = (Chunk(digest(self._file.read(*at)), at[1] - at[0], "") for at in cut(self._file))
        return tuple(found)

    def read(self, start: int, stop: int) -> Buffer:
        """Return a range of the bytes."""
        self.bytes_read += max(min(stop, self.size) - start, 0)
        return self._file.read(start, stop)

    def hides(self, least: int | None) -> None:
        """Do nothing: the system reads no more than the requested bytes."""

    def are_values(self, ranges: list[Range]) -> bool:  # noqa: ARG002 - as of a version
        """Return True: nothing is hidden."""
        return True

    def release(self) -> None:
        """Do nothing: it holds no chunks."""

    def again(self, _: PartReader | None) -> DiskSource:
        """Return the same file for another thread; it is read at positions."""
        return DiskSource(self.path, self._file)


class ChunkIndex:
    """Finds the chunks that a range of a file lies in."""

    def __init__(self, chunks: tuple[Chunk, ...]) -> None:
        self._chunks = chunks
        self._ends = list(itertools.accumulate(chunk.size for chunk in chunks))

    def pieces(self, ranges: tuple[Range, ...]) -> tuple[Piece, ...]:
        """Return the parts of chunks that some ranges of the file lie in, in their order."""
        return tuple(piece for at in ranges for piece in self._of(*at))

    def _of(self, start: int, stop: int) -> Iterator[Piece]:
        for index in range(bisect.bisect_right(self._ends, start), len(self._ends)):
            chunk = self._chunks[index]
            begin = self._ends[index] - chunk.size
            if begin >= stop:
                return
            low, high = max(start, begin), min(stop, self._ends[index])
            yield Piece(chunk.digest, low - begin, high - low, chunk.blob)


def disk_sources(path: str, closing: contextlib.ExitStack) -> Iterator[DiskSource]:
    """Open the files at and below a path, until closing closes them; raises InvalidPath."""
    for source in find_sources(path):
        yield DiskSource(source.path, closing.enter_context(source.open()))
