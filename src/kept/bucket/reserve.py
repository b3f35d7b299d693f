"""Keeps some room on a disk that only deleting calls may use, so that a full disk can be emptied.

A deletion writes before it frees anything: a record, or the list of a gc. With no byte free each
of these writes would fail. So a file of random bytes (a file system that compresses would store
zeros in no room) is made while the disk has room, and deleting calls remove it when they lack room.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

SIZE = 256 * 1024  # bytes: a list of 2,500 keys and 15 records, or 60 records
_NAME = "reserve"
_PIECE = 16 * 1024
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def lacks_room(error: OSError) -> bool:
    """Return whether a write failed because the disk is full or a quota is used up."""
    return error.errno in _NO_ROOM


class Reserve:
    """The file tmp/reserve of a bucket. For many threads; each one spends it for itself."""

    def __init__(self, folder: str) -> None:
        self._folder, self._path = folder, os.path.join(folder, _NAME)
        self._was_made = False
        self._thread = threading.local()  # spending: how many blocks of spending() it is in

    def make_once(self) -> None:
        """Make the reserve if it is missing and the disk has much more room; raises nothing."""
        if self._was_made:
            return
        self._was_made = True
        with contextlib.suppress(OSError):
            if not self._is_full() and self._free() >= 4 * SIZE:
                self._fill()

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        """Let this thread's writes use the reserve; then make it again, as far as it fits."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth and getattr(self._thread, "spent", False):
                self._thread.spent = False
                with contextlib.suppress(OSError):
                    self._fill()

    def attempts(self) -> Iterator[AbstractContextManager[None]]:
        """Yield the contexts of a write's attempts: a second one if the reserve makes room for it.

        The first context swallows the error of a full disk in that case only.
        """
        first = _FirstAttempt(self)
        yield first
        if first.is_repeated:
            yield contextlib.nullcontext()

    def take(self) -> bool:
        """Free the reserve if this thread may spend it; return whether that made room."""
        if not self._depth:
            return False
        try:
            os.unlink(self._path)
        except OSError:
            return False
        self._thread.spent = True
        return True

    @property
    def _depth(self) -> int:
        return getattr(self._thread, "spending", 0)

    @_depth.setter
    def _depth(self, depth: int) -> None:
        self._thread.spending = depth

    def _is_full(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.lstat(self._path).st_size >= SIZE
        return False

    def _free(self) -> int:
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def _fill(self) -> None:
        """Write random bytes up to the size; on a full disk as many as fit."""
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            for _ in range(0, SIZE, _PIECE):
                os.write(fd, os.urandom(_PIECE))
        finally:
            os.close(fd)


class _FirstAttempt(contextlib.AbstractContextManager[None]):
    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve
        self.is_repeated = False

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool:  # fmt: skip
        lacked = isinstance(error, OSError) and lacks_room(error)
        self.is_repeated = lacked and self._reserve.take()
        return self.is_repeated
