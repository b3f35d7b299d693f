"""The folder tmp/ of a local bucket: files being written, before they get their names."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import stat
import threading
import time
from typing import TYPE_CHECKING

from kept.bucket import file_io

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Parts

_SWEEP_AFTER = 60.0  # seconds; a younger temporary file may not have its lock yet
_PREFIX = "put-"


class Temporaries:
    """Makes temporary files in a folder, and removes those of killed writers. For many threads."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._swept = False
        self._counter = itertools.count()
        self._unique = os.urandom(8).hex()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def file(self, path: str, parts: Parts) -> Iterator[str]:
        """Yield the path of a durable file that holds the parts; then remove it.

        Errors name the path that the file is for. Once it has that name, no error is raised.
        """
        self._sweep()
        # The process id keeps names apart after a fork.
        name = f"{_PREFIX}{self._unique}-{os.getpid()}-{next(self._counter)}"
        temporary = os.path.join(self._folder, name)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try_lock(fd)  # held until the file has its final name, to show that the writer lives
            with file_io.naming(path):
                file_io.write(fd, parts)
                file_io.sync(fd)
            file_io.forget(fd)
            yield temporary
        finally:
            file_io.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _sweep(self) -> None:
        """Remove the files of killed writers, once for each object."""
        with self._lock:
            if self._swept:
                return
            self._swept = True
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.name.startswith(_PREFIX) and _is_abandoned(entry):
                        os.unlink(entry.path)


def try_lock(fd: int, *, wait: bool = False) -> bool:
    """Lock an open file; return whether this process holds the lock now."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # held by a living writer, or a file system without locks
        return False
    return True


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    found = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode) or time.time() - found.st_mtime < _SWEEP_AFTER:
        return False
    with open(entry.path, "rb") as file:
        return try_lock(file.fileno())
