"""Reads the files and folders of a local bucket; what cannot be read is damage, and is named.

Only a path that does not exist is missing. A link to nowhere, a FIFO or a folder in place of a
file, a bad sector and missing permissions raise Unreadable, with the path. Nothing here waits: a
FIFO without a writer would stop a reader that opens it in the usual way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from kept.bucket import file_io
from kept.errors import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = (FileNotFoundError, NotADirectoryError)
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # of this process, not of the store
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
    stat.S_IFREG: "a file",
}


def read_value(root: str, path: str, start: int, length: int | None) -> bytes | None:
    """Return a range of a file below root, None if the file is missing; raises Unreadable."""
    with reading(path):
        try:
            fd = os.open(path, _OPEN)
        except MISSING:
            _check_missing(root, path)
            return None
        try:
            found = os.fstat(fd)
            check_is_file(path, found)
            left = max(found.st_size - start, 0)
            return file_io.read(fd, start, left if length is None else min(length, left))
        finally:
            with contextlib.suppress(OSError):
                os.close(fd)


def file_stat(root: str, path: str) -> os.stat_result | None:
    """Return the facts of a file below root, None if it is missing; raises Unreadable."""
    with reading(path):
        try:
            found = os.stat(path)
        except MISSING:
            _check_missing(root, path)
            return None
    check_is_file(path, found)
    return found


def entry_stat(path: str) -> os.stat_result | None:
    """Return the facts of whatever lies at a path, of a link if it leads nowhere."""
    with reading(path), contextlib.suppress(*MISSING):
        try:
            return os.stat(path)
        except OSError:
            return os.lstat(path)
    return None


def entries(root: str, path: str) -> list[os.DirEntry[str]]:
    """Return what lies in a folder, nothing if the folder is missing; raises Unreadable."""
    with reading(path):
        try:
            with os.scandir(path) as found:
                return list(found)
        except MISSING:
            _check_missing(root, os.path.join(path, ""))
            return []


def names(root: str, path: str) -> list[str]:
    """Return the names in a folder as entries does, in less time."""
    with reading(path):
        try:
            return os.listdir(path)
        except MISSING:
            _check_missing(root, os.path.join(path, ""))
            return []


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; a link that leads nowhere is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def holds_a_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder with a file in it, or below it.

    True also if that cannot be seen, because a link leads nowhere or the disk fails: a caller that
    reads the folder gets the error.
    """
    if not is_folder(entry):
        return entry.is_symlink() and not os.path.exists(entry.path)
    try:
        with os.scandir(entry.path) as found:
            return any(not is_folder(inner) or holds_a_file(inner) for inner in found)
    except MISSING:
        return False
    except OSError:
        return True


def check_is_file(path: str, found: os.stat_result) -> None:
    """Raise Unreadable if something else than a file lies at a path."""
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable(f"{path} is {_kind(found)}, expected a file. Move it away.")


def check_is_folder(path: str, found: os.stat_result) -> None:
    """Raise Unreadable if something else than a folder lies at a path."""
    if not stat.S_ISDIR(found.st_mode):
        raise Unreadable(f"{path} is {_kind(found)}, expected a folder. Move it away.")


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn an error of the operating system into Unreadable, which names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _SHORTAGES:
            error.filename = error.filename or path
            raise
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}") from error


def _check_missing(root: str, path: str) -> None:
    """Raise Unreadable if a path below root seems missing, but something hides it.

    The first existing part of the path decides: a link to nowhere hides a file or folder, and what
    is no folder hides all that was below it.
    """
    part = path
    while len(part) > len(root):
        try:
            found = os.lstat(part)
        except MISSING:
            part = os.path.dirname(part)
            continue
        if stat.S_ISLNK(found.st_mode):
            try:
                found = os.stat(part)
            except MISSING:
                target = os.readlink(part)
                raise Unreadable(f"{part} is a link to {target!r}, which is missing.") from None
        if part != path:
            check_is_folder(part, found)
        return


def _kind(found: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
