"""How bytes come to the disk and from it: writing, fsync, and the kernel's cache."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from kept.bucket.parallel import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Parts

_PIECE = 8 * 1024 * 1024  # bytes of a large file that one thread writes and syncs at a time
_WRITERS = 4
_MAX_IOV = 512  # Linux and macOS take 1024 buffers in one writev


def write(fd: int, parts: Parts) -> None:
    """Write buffers, one after the other, where the file stands."""
    views = [memoryview(part).cast("B") for part in parts if len(part)]
    while views:
        written = os.writev(fd, views[:_MAX_IOV])
        while written:
            taken = min(written, len(views[0]))
            views[0] = views[0][taken:]
            written -= taken
            if not len(views[0]):
                views.pop(0)


def write_file(path: str, parts: Parts) -> None:
    """Write a new file; return when its bytes are on the disk. If it fails there is no file.

    It is written and synced in pieces by a few threads, so that it takes little of the kernel's
    cache, whose pages are then warm: of 300 MB in one go, 4/5 of the time went into new pages.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        in_threads(lambda piece: _write_piece(fd, *piece), _pieces(parts), _WRITERS)
        sync(fd)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def read(fd: int, start: int, length: int) -> bytes:
    """Return a range of a file, less only where the file ends."""
    data = os.pread(fd, length, start)
    if len(data) == length:
        return data
    # One pread gives at most 2 GiB, and may give less on a network file system.
    pieces = [data]
    while data and (done := sum(map(len, pieces))) < length:
        data = os.pread(fd, length - done, start + done)
        pieces.append(data)
    return b"".join(pieces)


def forget(fd: int, start: int = 0, length: int = 0) -> None:
    """Have the kernel drop a synced file (or a range) from its cache: it will hardly be read soon.

    So a run that saves gigabytes does not push its training data out of memory, and the next
    write gets pages that are warm: on a virtual machine new ones cost several times the write.
    """
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(fd, start, length, os.POSIX_FADV_DONTNEED)


def sync(fd: int) -> None:
    """Return when the bytes of an open file are on the disk."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync alone stops at the drive's own cache
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)


def sync_file(path: str) -> None:
    """Return when the bytes of a file are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        sync(fd)
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Return when the names in a folder are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(fd)
    finally:
        os.close(fd)


def _write_piece(fd: int, offset: int, views: list[memoryview]) -> None:
    end = offset
    for view in views:
        while len(view):
            written = os.pwrite(fd, view, end)
            end, view = end + written, view[written:]  # noqa: PLW2901 - what is left of it
    sync(fd)
    forget(fd, offset, end - offset)


def _pieces(
    parts: Parts,
) -> Iterator[tuple[int, list[memoryview]]]:
    """Yield (offset, buffers) for pieces of _PIECE bytes that make up the parts."""
    offset, size, piece = 0, 0, list[memoryview]()
    for part in parts:
        rest = memoryview(part).cast("B")
        while len(rest):
            taken = rest[: _PIECE - size]
            piece.append(taken)
            size, rest = size + len(taken), rest[len(taken) :]
            if size == _PIECE:
                yield offset, piece
                offset, size, piece = offset + size, 0, []
    if piece:
        yield offset, piece
