"""Locks between processes. They end with the process, also if it is killed, and leave no file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_held: set[int] = set()  # file descriptors of the locks of this process, also of those that wait
_changing = threading.RLock()  # held while a descriptor is opened or closed: no fork comes between


@contextlib.contextmanager
def locked(path: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock at path for a block, and create its folder; yield whether it is held.

    Without wait, yield False if another process or thread holds it.
    """
    fd, process = _acquire(path, wait=wait), os.getpid()
    if fd is None:
        yield False
        return
    try:
        yield True
    finally:
        # A forked child has closed it, and may have a lock of its own with this number.
        if os.getpid() == process:
            # Before the release, so that a waiting process notices: see _acquire.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            _close(fd)


def is_held(path: str) -> bool:
    """Return whether a process holds the lock at path; nothing is created, and nothing waits.

    Only for locks that their holders take with wait=False at a name of their own: for a moment this
    holds the lock, too.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _acquire(path: str, *, wait: bool) -> int | None:
    while True:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            fd = _open(path)
        except FileNotFoundError:
            continue  # another process has just removed the empty folder
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_at(fd, path):
                return fd
        except BlockingIOError:
            _close(fd)
            return None
        except BaseException:
            _close(fd)
            raise
        _close(fd)  # the last holder has removed this file: try the current one


def _open(path: str) -> int:
    with _changing:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        _held.add(fd)
    return fd


def _close(fd: int) -> None:
    with _changing:
        _held.discard(fd)
        os.close(fd)


def _is_at(fd: int, path: str) -> bool:
    try:
        found, mine = os.stat(path), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


def _release_in_child() -> None:
    """Close the locks of the parent: they must not outlive it in a forked child."""
    for fd in _held:
        os.close(fd)
    _held.clear()
    _changing.release()


os.register_at_fork(
    before=_changing.acquire,
    after_in_parent=_changing.release,
    after_in_child=_release_in_child,
)
