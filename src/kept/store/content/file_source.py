"""Reads the bytes of a file to be stored: on the disk, or in memory.

Bytes in memory are not copied: a bucket writes them to the disk from the snapshot's own buffers.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import os
import stat
from typing import TYPE_CHECKING, Protocol

from kept.errors import InvalidPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Buffer


class FileSource(Protocol):
    """The bytes of a file, which can be read in any order."""

    @property
    def size(self) -> int:
        """The size of the file in bytes."""

    def read(self, start: int, stop: int) -> Buffer:
        """Return the bytes from start up to stop, or up to the end if that comes first."""


class Positioned:
    """A file object for h5py, made of read, a size and a position."""

    _size: int
    _at: int = 0

    def read(self, size: int = -1) -> Buffer:
        """Return size bytes from the position, or all up to the end, and move behind them."""
        raise NotImplementedError

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, except at the end of the file; return how many bytes were read."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("cannot seek before the beginning of a file")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seekable(self) -> bool:
        return True

    def flush(self) -> None:
        pass


class MemoryFile:
    """A file in memory: a name, and its bytes, in one buffer or several one after the other.

    Do not change the buffers as long as the file is in use.
    """

    def __init__(self, name: str, parts: Buffer | Iterable[Buffer]) -> None:
        self.name = name
        if isinstance(parts, (bytes, bytearray, memoryview)):
            parts = [parts]
        self._parts = [view for view in (memoryview(part).cast("B") for part in parts) if view]
        self._ends = list(itertools.accumulate(map(len, self._parts)))

    @property
    def parts(self) -> list[memoryview]:
        """The buffers."""
        return self._parts

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, stop: int) -> Buffer:
        """Return a range of the bytes, without a copy if one buffer holds all of them."""
        found = list(self._within(start, stop))
        return found[0] if len(found) == 1 else b"".join(found)

    def _within(self, start: int, stop: int) -> Iterator[memoryview]:
        for index in range(bisect.bisect_right(self._ends, start), len(self._parts)):
            part = self._parts[index]
            begin = self._ends[index] - len(part)
            if begin >= stop:
                return
            yield part[max(start - begin, 0) : stop - begin]


class DiskFile:
    """An open file. It is read, not mapped: a mapped file that is cut short kills the process."""

    def __init__(self, path: str, fd: int) -> None:
        self._path, self._fd = path, fd
        self._before = os.fstat(fd)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._before.st_size

    def read(self, start: int, stop: int) -> Buffer:
        """Return a range of the bytes; raises InvalidPath if the file has become shorter."""
        length = max(min(stop, self.size) - start, 0)
        data = self._pread(length, start)
        if len(data) != length:
            raise self._changed()
        return data

    def _pread(self, length: int, start: int) -> bytes:
        try:
            return os.pread(self._fd, length, start)
        except OSError as error:
            error.filename = self._path
            raise

    def check(self) -> None:
        """Raise InvalidPath if the file has changed since it was opened."""
        before, after = self._before, os.fstat(self._fd)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise self._changed()

    def _changed(self) -> InvalidPath:
        return InvalidPath(
            f"The file was changed while it was being stored. Received: {self._path!r}"
        )


@contextlib.contextmanager
def open_file(path: str) -> Iterator[DiskFile]:
    """Open a file on the disk; raises InvalidPath if it is no file, or changes meanwhile."""
    # A pipe would wait for a writer, and a device may act when it is opened.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidPath(f"A path to be stored is no file. Received: {path!r}")
        source = DiskFile(path, fd)
        yield source
        source.check()
    finally:
        os.close(fd)
