"""Makes the n-th call of this process that touches a folder fail, or kills the process before it.

It wraps the functions of Python that make system calls. The long form of the suite does the same to
the system calls themselves, with strace.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import fcntl
import io
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

KILL = "KILL"
FAULTS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", KILL)
STAYS = " from then on"  # the fault stays, as a full disk does

_OF_OS = (
    "open", "link", "rename", "replace", "unlink", "remove", "mkdir", "rmdir", "fsync", "fdatasync",
    "write", "writev", "pwrite", "pread", "preadv", "read", "readv", "stat", "lstat", "fstat",
    "scandir", "listdir", "ftruncate", "truncate", "symlink", "readlink", "close", "utime", "chmod",
    "posix_fadvise", "posix_fallocate", "sendfile", "copy_file_range", "statvfs", "access",
)  # fmt: skip
_WRITES = {
    "link", "rename", "replace", "unlink", "remove", "mkdir", "rmdir", "fsync", "fdatasync",
    "write", "writev", "pwrite", "ftruncate", "truncate", "symlink", "utime", "chmod",
    "posix_fallocate", "copy_file_range", "sendfile", "close",
}  # fmt: skip


class Injector:
    """Counts the calls that touch the folders, and makes one of them fail."""

    def __init__(self, *folders: str, at: int = 0, fault: str = "") -> None:
        """With at=0 every call succeeds, and calls has the name of each."""
        self.folders, self.at = folders, at
        self.stays = fault.endswith(STAYS)
        self.fault = fault.removesuffix(STAYS)
        self.calls: list[str] = []
        self.hit = ""
        self._lock = threading.Lock()
        self._readlink, self._kill = os.readlink, os.kill

    def install(self) -> None:
        """Wrap the functions of this process; for good, so call it in a child only."""
        for name in _OF_OS:
            if hasattr(os, name):
                setattr(os, name, self._wrapped(name, getattr(os, name)))
        fcntl.flock = self._wrapped("flock", fcntl.flock)
        builtins.open = io.open = self._wrapped("open", builtins.open)  # type: ignore[assignment]

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            where = self._touched(args)
            if where and self._is_hit(name, args, where):
                if name == "close":  # the descriptor is gone in any case
                    real(*args, **more)
                self._fail(args)
            return real(*args, **more)

        return call

    def _touched(self, args: tuple[Any, ...]) -> str:
        """Return the path below the folders that a call concerns, or nothing."""
        for what in args[:2]:
            path = ""
            if isinstance(what, int) and not isinstance(what, bool) and what > 2:
                with contextlib.suppress(OSError):
                    path = self._readlink(f"/proc/self/fd/{what}")
            elif isinstance(what, (str, os.PathLike)):
                path = os.path.abspath(os.fspath(what))
            if path and any(f"{path}/".startswith(f"{folder}/") for folder in self.folders):
                return path
        return ""

    def _is_hit(self, name: str, args: tuple[Any, ...], where: str) -> bool:
        writes = name in _WRITES or (name == "open" and _opens_to_write(*args[1:2]))
        if self.fault in ("ENOSPC", "EDQUOT", "EROFS") and not writes:
            return False
        with self._lock:
            self.calls.append(f"{name} {where}")
            number = len(self.calls)
        if number == self.at or (self.stays and number > self.at > 0):
            self.hit = self.hit or f"{name} {where}"
            return True
        return False

    def _fail(self, args: tuple[Any, ...]) -> None:
        if self.fault == KILL:
            self._kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.fault)
        named = [a for a in args[:1] if isinstance(a, (str, os.PathLike))]
        raise OSError(number, os.strerror(number), *named)


def _opens_to_write(mode: str | int = "r") -> bool:
    if isinstance(mode, str):
        return not set(mode) <= set("rbt")
    return bool(mode & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
