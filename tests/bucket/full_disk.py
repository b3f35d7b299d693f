"""A disk that is full: writes below a folder fail as soon as its files take a number of blocks."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

BLOCK = 4096


def blocks(size: int) -> int:
    """Return the number of blocks that a file of that many bytes takes."""
    return -(-size // BLOCK)


class FullDisk:
    """Counts the blocks below a folder before each write, and refuses what exceeds the capacity."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: str, free: int = 0) -> None:
        self._root = root
        self.capacity = self.used() + free  # blocks
        self.refused = 0
        for name in ("write", "writev", "pwrite"):
            self._guard(monkeypatch, name)
        real_statvfs = os.statvfs

        def statvfs(path):
            found = list(real_statvfs(path))
            found[:5] = BLOCK, BLOCK, self.capacity, *[max(self.capacity - self.used(), 0)] * 2
            return os.statvfs_result(found)

        monkeypatch.setattr(os, "statvfs", statvfs)

    def used(self) -> int:
        """Return the blocks that the files below the folder take."""
        sizes = {}
        for folder, _, names in os.walk(self._root):
            for name in names:
                found = os.lstat(os.path.join(folder, name))
                sizes[found.st_ino] = found.st_size
        return sum(map(blocks, sizes.values()))

    def _guard(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        real = getattr(os, name)

        def guarded(fd, data, *args):
            size = os.fstat(fd).st_size
            added = sum(map(len, data)) if name == "writev" else len(data)
            is_here = os.readlink(f"/proc/self/fd/{fd}").startswith(self._root)
            if is_here and self.used() + blocks(size + added) - blocks(size) > self.capacity:
                self.refused += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(fd, data, *args)

        monkeypatch.setattr(os, name, guarded)
