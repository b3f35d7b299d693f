"""What disks, copies and people do to a file or folder of a store."""

from __future__ import annotations

import builtins
import errno
import io
import os
import pathlib
import random
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OTHER_USER = 65534
# Of files. Those in the second row leave the length as it is.
FILES = (
    "cut", "empty", "grown", "delete", "link to nowhere", "link to itself", "fifo", "folder",
    "EIO", "EIO on open", "EACCES",
    "first bit", "middle bit", "last bit", "random", "swap",
)  # fmt: skip
FOLDERS = ("EIO", "EACCES", "file", "link to nowhere")
AS_ANOTHER_USER = {"EACCES"}  # root may read everything


def apply(damage: str, path: Path, other: Path | None) -> None:
    """Damage one file or folder; other is a sibling to swap with."""
    if damage.startswith("EIO"):
        own_inode(path)
        bad_sector(path, opens=damage == "EIO")
    elif damage == "EACCES":
        own_inode(path)
        path.chmod(0)
    elif damage == "swap":
        assert other is not None
        data = other.read_bytes()
        replace(other, path.read_bytes())
        replace(path, data)
    elif damage.endswith("bit") or damage in ("cut", "empty", "grown", "random"):
        replace(path, changed(damage, path.read_bytes()))
    else:
        remove(path)
        _put_in_place(damage, path)


def changed(damage: str, data: bytes) -> bytes:
    """Return damaged bytes."""
    match damage:
        case "cut":
            return data[: len(data) // 2]
        case "empty":
            return b""
        case "grown":
            return data + b"\0"
        case "random":
            return random.Random(len(data)).randbytes(len(data))
    at = {"first": 0, "middle": len(data) // 2, "last": len(data) - 1}[damage.split(maxsplit=1)[0]]
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :] if data else b"\1"


def _put_in_place(damage: str, path: Path) -> None:
    match damage:
        case "link to nowhere":
            path.symlink_to("nowhere-at-all")
        case "link to itself":
            path.symlink_to(path.name)
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "file":
            path.write_bytes(b"a file")
        case _:
            assert damage == "delete", damage


def replace(path: Path, data: bytes) -> None:
    """Write a file under a new inode, because others have a link to the old one."""
    remove(path)
    path.write_bytes(data)


def own_inode(path: Path) -> None:
    """Give a file an inode of its own; a folder has one."""
    if path.is_file():
        replace(path, path.read_bytes())


def remove(path: Path) -> None:
    """Remove whatever lies there, if anything."""
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o755)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def linked(source: Path, target: Path) -> None:
    """Copy a store by hard links, damaged files and all; kept never changes a file in place."""
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in entries:
            here = target / entry.name
            if entry.is_dir(follow_symlinks=False):
                linked(pathlib.Path(entry.path), here)
            else:
                os.link(entry.path, here, follow_symlinks=False)


def become_nobody() -> None:
    """Give up the rights of root, for whom no file is closed."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(OTHER_USER)
        os.setuid(OTHER_USER)


def bad_sector(path: Path, *, opens: bool) -> None:
    """Make reading this inode fail in this process with EIO, at the open or at the first read."""
    sector = _Sector(path.stat(), opens=opens)
    for name in ("pread", "read", "preadv", "readv"):
        setattr(os, name, sector.reading(getattr(os, name)))
    for name in ("scandir", "listdir"):
        setattr(os, name, sector.listing(getattr(os, name)))
    os.open = sector.opening(os.open)
    builtins.open = io.open = sector.opening_file(builtins.open)  # type: ignore[assignment]


class _Sector:
    """Wraps functions, so that they fail for one inode."""

    def __init__(self, found: os.stat_result, *, opens: bool) -> None:
        self._bad = (found.st_dev, found.st_ino)
        self._opens = opens  # then reading fails, and otherwise opening

    def is_bad(self, what: Any) -> bool:
        try:
            found = os.stat(what)
        except (OSError, TypeError, ValueError):
            return False
        return (found.st_dev, found.st_ino) == self._bad

    def reading(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def read(fd: int, *args: Any) -> Any:
            if self._opens and self.is_bad(fd):
                raise _error()
            return real(fd, *args)

        return read

    def listing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def listed(what: Any = ".") -> Any:
            if self.is_bad(what):
                raise _error(what)
            return real(what)

        return listed

    def opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(what: Any, *args: Any, **more: Any) -> Any:
            if not self._opens and self.is_bad(what):
                raise _error(what)
            return real(what, *args, **more)

        return opened

    def opening_file(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(what: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
            if not isinstance(what, int) and set(mode) <= set("rb") and self.is_bad(what):
                if not self._opens:
                    raise _error(what)
                return _Unreadable(real(what, "rb", 0))
            return real(what, mode, *args, **more)

        return opened


def _error(*named: Any) -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO), *named)


class _Unreadable(io.FileIO):
    """A file that opens, and whose bytes cannot be read."""

    def __init__(self, file: Any) -> None:
        super().__init__(os.dup(file.fileno()), "rb")
        file.close()

    def readinto(self, _: Any) -> int:
        raise _error()

    def readall(self) -> bytes:
        raise _error()

    def read(self, _: int = -1) -> bytes:
        raise _error()
