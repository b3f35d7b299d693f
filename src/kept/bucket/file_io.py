"""Writes and reads files, with fsync, and with or without the kernel's cache."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Parts

_LARGE = 8 * 1024 * 1024  # bytes; larger writes bypass the cache
_BUFFER = 1024 * 1024  # bytes of one direct write
_BLOCK = 4096  # O_DIRECT mostly wants multiples of it as addresses, offsets and lengths
_UNSUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP)  # the file system lacks it
_MAX_IOV = 512  # Linux and macOS take 1024 buffers in one writev


def write(fd: int, parts: Parts) -> None:
    """Write buffers, one after the other, into a new file.

    Large ones bypass the kernel's cache (O_DIRECT) on a disk of this machine, because checkpoints
    are rarely read soon. So saving gigabytes does not push the training data out of the cache, and
    it takes half of the processor time that copying into the cache does.
    """
    size = sum(memoryview(part).nbytes for part in parts)
    if size >= _LARGE and _is_on_a_disk(fd) and _set_direct(fd, on=True):
        _write_direct(fd, parts)
    else:
        _write_cached(fd, parts)


def write_file(path: str, parts: Parts) -> None:
    """Write a new file; return when its bytes are on the disk. After an error no file exists."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with naming(path):
            write(fd, parts)
            sync(fd)
            forget(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    finally:
        close(fd)


def read(fd: int, start: int, length: int) -> bytes:
    """Return a range of a file, less only if the file ends sooner."""
    data = os.pread(fd, length, start)
    if len(data) == length:
        return data
    # One pread gives at most 2 GiB, and may give less on a network file system.
    pieces = [data]
    while data and (done := sum(map(len, pieces))) < length:
        data = os.pread(fd, length - done, start + done)
        pieces.append(data)
    return b"".join(pieces)


def close(fd: int) -> None:
    """Close a file whose bytes need no more care: they are synced, or an error is on its way."""
    with contextlib.suppress(OSError):
        os.close(fd)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Add a path to an error of the operating system that names no file."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def forget(fd: int) -> None:
    """Make the kernel drop a synced file from its cache, for the same reasons as in write."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


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
        with naming(path):
            sync(fd)
    finally:
        close(fd)


def sync_folder(path: str) -> None:
    """Return when the names in a folder are on the disk.

    It does nothing on file systems that do not support it (VirtualBox's shared folders, some SMB).
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(path):
            sync(fd)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        close(fd)


def _write_cached(fd: int, parts: Parts) -> None:
    views = [memoryview(part).cast("B") for part in parts if len(part)]
    while views:
        written = os.writev(fd, views[:_MAX_IOV])
        while written:
            taken = min(written, len(views[0]))
            views[0] = views[0][taken:]
            written -= taken
            if not len(views[0]):
                views.pop(0)


def _write_direct(fd: int, parts: Parts) -> None:
    """Write whole blocks directly, through aligned memory, and the rest through the cache."""
    offset, buffer = 0, memoryview(mmap.mmap(-1, _BUFFER, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    for filled in _fillings(buffer, parts):
        whole = filled // _BLOCK * _BLOCK
        _write_at(fd, buffer[:whole], offset)
        if whole < filled:  # only the last one is
            _set_direct(fd, on=False)
            _write_at(fd, buffer[whole:filled], offset + whole)
        offset += filled


def _fillings(buffer: memoryview, parts: Parts) -> Iterator[int]:
    """Copy the parts into the buffer, one filling after the other; yield the length of each."""
    import numpy as np  # lets other threads run while it copies; a memoryview does not

    target, filled = np.frombuffer(buffer, np.uint8), 0
    for part in parts:
        rest = np.frombuffer(part, np.uint8)
        while len(rest):
            taken = rest[: len(target) - filled]
            np.copyto(target[filled : filled + len(taken)], taken)
            filled, rest = filled + len(taken), rest[len(taken) :]
            if filled == len(target):
                yield filled
                filled = 0
    if filled:
        yield filled


def _write_at(fd: int, data: memoryview, offset: int) -> None:
    written = 0
    while written < len(data):
        try:
            written += os.pwrite(fd, data[written:], offset + written)
        except OSError as error:
            # The file system wants larger blocks, or wrote part of one: continue with the cache.
            if error.errno not in _UNSUPPORTED or not _set_direct(fd, on=False):
                raise


def _is_on_a_disk(fd: int) -> bool:
    """Return whether a block device holds the file: network file systems, for example, have none.

    There each direct write waits for the server.
    """
    return os.major(os.fstat(fd).st_dev) != 0


def _set_direct(fd: int, *, on: bool) -> bool:
    """Make writes to an open file bypass the cache, or not; return whether that changed it."""
    direct = getattr(os, "O_DIRECT", 0)  # none on macOS
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if not direct or bool(flags & direct) == on:
        return False
    with contextlib.suppress(OSError):  # EINVAL: the file system does not support it
        fcntl.fcntl(fd, fcntl.F_SETFL, flags ^ direct)
        return True
    return False
