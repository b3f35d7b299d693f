"""Workspaces: hidden folders in which files become complete before they appear in their place.

A workspace lies in the folder of the files, so that a rename moves them. It is removed at its end.
A killed process cannot remove its own, so a later process does. It knows them by a lock: a living
process holds the lock of its workspace, and the end of the process releases it.

A lock proves nothing about other machines, because some network file systems keep locks on one
machine. So the name of the lock file says which machine made the workspace. Workspaces of other
machines are removed only if nothing in them has changed for a day. A folder without a lock file may
be the user's own, so it is removed only if it is empty.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from typing import TYPE_CHECKING

from kept.digest import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"\.kept-[a-z0-9_]{8}")  # as mkdtemp makes them; not the links of an outbox
_LOCK = ".kept-lock-"
_SWEEP_AFTER = 60.0  # seconds; a younger workspace may not have its lock yet
_SWEEP_OTHERS_AFTER = 24 * 3600.0  # seconds without any change

_swept: set[str] = set()  # folders, once in each process


class FilesLeft(OSError):
    """An error after which the workspace stays, because it holds files of the user."""


def cache_folder() -> str:
    """Return kept's folder for caches of this user, by the XDG base directory specification."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = given if os.path.isabs(given) else os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "kept")


@contextlib.contextmanager
def workspace(folder: str) -> Iterator[str]:
    """Yield a new, empty folder below an existing one; remove it at the end, with its content.

    The first call for a folder also removes the workspaces that killed processes left there. An
    error while removing is no error of the caller's work, so it is not raised. After FilesLeft the
    workspace stays.
    """
    _sweep(os.path.abspath(folder))
    path = tempfile.mkdtemp(prefix=".kept-", dir=folder)
    lock, stays = None, False
    try:
        lock = _lock(path)
        yield path
    except FilesLeft:
        stays = True
        with contextlib.suppress(OSError):  # without its lock file, no process removes it
            os.unlink(os.path.join(path, _lock_name()))
        raise
    finally:
        if not stays:
            with contextlib.suppress(OSError):  # ignore_errors covers not all of them
                shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            _release(lock)


@contextlib.contextmanager
def abandoned(folder: str) -> Iterator[list[str]]:
    """Yield the workspaces in a folder that no living process has locked; hold their locks.

    So their content can be taken over: until the end, no process removes them. After that, the next
    workspace in the folder does; after an error, a later process.
    """
    with contextlib.ExitStack() as held:
        found = []
        for path in _workspaces(folder):
            with contextlib.suppress(OSError):
                held.enter_context(_locked(path))
                found.append(path)
        yield found
    _swept.discard(os.path.abspath(folder))


def _lock_name() -> str:
    """Return the name of lock files of this machine; an empty file needs no room on a full disk."""
    return _LOCK + digest(os.uname().nodename.encode())[:16]


def _lock(path: str) -> int | None:
    """Lock a new workspace; None if the file system has no locks, or no room for an empty file."""
    name = os.path.join(path, _lock_name())
    try:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(name)
        return None
    return fd


def _release(lock: int) -> None:
    # Closing does not unlock if a process forked meanwhile has the file open, too.
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_UN)
    with contextlib.suppress(OSError):
        os.close(lock)


def _sweep(folder: str) -> None:
    """Remove the abandoned workspaces in a folder."""
    if folder in _swept:
        return
    _swept.add(folder)
    for path in _workspaces(folder):
        with contextlib.suppress(OSError):
            _remove_if_abandoned(path)


def _workspaces(folder: str) -> list[str]:
    """Return the workspaces in a folder; none if it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [
            entry.path
            for entry in entries
            if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        ]
    return []


def _locks_in(path: str) -> list[str]:
    return [name for name in os.listdir(path) if name.startswith(_LOCK)]


def _remove_if_abandoned(path: str) -> None:
    locks = _locks_in(path)
    is_ours = locks == [_lock_name()]
    if time.time() - _changed(path) < (_SWEEP_AFTER if is_ours else _SWEEP_OTHERS_AFTER):
        return
    if not locks:
        os.rmdir(path)
        return
    with _locked(path):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold the locks of a workspace; raises OSError if a living process holds one."""
    with contextlib.ExitStack() as held:
        for name in _locks_in(path):
            # Not O_CREAT: a lock that has just been removed must not come back.
            fd = os.open(os.path.join(path, name), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            held.callback(_release, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _changed(path: str) -> float:
    """Return the time of the latest change in a workspace: seconds since 1970."""
    times = [os.lstat(path).st_mtime]
    for where, folders, files in os.walk(path):
        times += [os.lstat(os.path.join(where, name)).st_mtime for name in (*folders, *files)]
    return max(times)
