"""A bucket in a local folder; a power cut loses no stored value.

Invariant: a name appears in the folder only after its bytes are on the disk, and a call returns
only after the name is on the disk. So: write a temporary file, fsync it, link or rename it to its
final name, then fsync the folder (and the parents of new folders).

A failed fsync is never retried on the same file: the kernel has already dropped the dirty pages, so
a second one would report success for lost data. The temporary file is deleted instead.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import stat
import threading
import time
from typing import TYPE_CHECKING

from kept.bucket import file_io
from kept.bucket.base import Item, size_of
from kept.bucket.file_io import sync_folder
from kept.errors import KeyExists, KeyNotFound
from kept.parallel import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Parts
    from kept.bucket.transfer import Transfer

_TMP = "tmp"
_WRITERS = 4
_SWEEP_AFTER = 60.0  # seconds; a younger temporary file may not have its lock yet
_NAME_IS_YOUNG = 600.0  # seconds; far more than a writer needs from the name to the fsync
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalBucket:
    """A Bucket whose keys are files below a folder; the first write creates the folder."""

    is_remote = False
    concurrency = 1

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self._made: set[str] = set()  # folders known to exist durably
        self._swept = False
        self._counter = itertools.count()
        self._unique = os.urandom(8).hex()
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        return self.root

    def put(self, key: str, parts: Parts) -> None:
        sync_folder(self._store(key, parts))

    def put_many(
        self, items: Iterable[tuple[str, Parts]], transfer: Transfer | None = None
    ) -> None:
        # One fsync per file in a few threads (the file system commits them in groups), then one per
        # folder: measured about as fast as syncfs, and it does not flush other programs' files.
        folders: set[str] = set()

        def store(item: tuple[str, Parts]) -> None:
            folders.add(self._store(*item))
            if transfer:
                transfer.moved(size_of(item[1]))

        in_threads(store, items, _WRITERS)
        for folder in folders:
            sync_folder(folder)

    def put_if_absent(self, key: str, parts: Parts) -> None:
        path, folder = self._place(key)
        with self._temporary(parts) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise _key_exists(key) from None
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                # Stand-in for link(2), which the file system lacks (FAT, some FUSE).
                self._rename_if_absent(temporary, path, key)
        sync_folder(folder)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        try:
            with open(self._path(key), "rb", buffering=0) as file:
                left = max(os.fstat(file.fileno()).st_size - start, 0)
                return file_io.read(
                    file.fileno(), start, left if length is None else min(length, left)
                )
        except _MISSING:
            raise self._missing(key) from None

    def size(self, key: str) -> int | None:
        try:
            found = os.stat(self._path(key))
        except _MISSING:
            return None
        if stat.S_ISDIR(found.st_mode):
            return None
        if time.time() - found.st_ctime < _NAME_IS_YOUNG:
            sync_folder(os.path.dirname(self._path(key)))  # its writer may not have done so yet
        return found.st_size

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        for name, is_folder in self._listed(prefix, after):
            if is_folder:
                yield from self.keys(f"{prefix}{name}/", after)
            else:
                yield prefix + name

    def items(self, prefix: str) -> Iterator[Item]:
        for key in self.keys(prefix):
            with contextlib.suppress(*_MISSING):  # deleted since it was listed
                found = os.stat(self._path(key))
                yield Item(key, found.st_size, found.st_mtime)

    def folders(self, prefix: str) -> Iterator[str]:
        for name in sorted(name for name, is_folder in self._listed(prefix) if is_folder):
            if _holds_a_file(
                self._path(prefix + name)
            ):  # after a killed writer a folder may be empty
                yield name

    def delete(self, key: str) -> None:
        with contextlib.suppress(*_MISSING):
            os.unlink(self._path(key))

    def move(self, key: str, target: str) -> None:
        source = self._path(key)
        path, folder = self._place(target)
        try:
            self._rename_if_absent(source, path, target)
        except _MISSING:
            raise self._missing(key) from None
        sync_folder(folder)
        sync_folder(os.path.dirname(source))

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        folder = os.path.join(self.root, _TMP)
        self._make_folder(folder)
        fd = os.open(os.path.join(folder, f"{name}.lock"), os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            yield _try_lock(fd, wait=wait)
        finally:
            # Closing does not unlock if a process forked meanwhile has the file open, too.
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _path(self, key: str) -> str:
        return os.path.join(self.root, *key.split("/"))

    def _missing(self, key: str) -> KeyNotFound:
        return KeyNotFound(f"No such key in {self.root}. Received: {key!r}")

    def _listed(self, prefix: str, after: str = "") -> list[tuple[str, bool]]:
        """Return names and whether each is a folder, in the ascending order of whole keys.

        Names whose keys are not greater than after are left out.
        """
        if not after.startswith(prefix):  # then it is less than all keys here, or greater
            if after > prefix:
                return []
            after = prefix
        rest = after[len(prefix) :]
        try:
            with os.scandir(self._path(prefix)) as entries:
                found = [(e.name, e.is_dir()) for e in entries if _may_be_after(e.name, rest)]
        except _MISSING:
            return []
        if not prefix:
            found = [(name, is_folder) for name, is_folder in found if name != _TMP]
        if rest:
            found = [(name, is_folder) for name, is_folder in found if is_folder or name > rest]
        return sorted(found, key=lambda e: e[0] + "/" if e[1] else e[0])

    def _store(self, key: str, parts: Parts) -> str:
        """Store a value without making its name durable; return the folder to sync."""
        path, folder = self._place(key)
        with self._temporary(parts) as temporary:
            os.replace(temporary, path)
        return folder

    def _place(self, key: str) -> tuple[str, str]:
        path = self._path(key)
        folder = os.path.dirname(path)
        self._make_folder(folder)
        return path, folder

    @contextlib.contextmanager
    def _temporary(self, parts: Parts) -> Iterator[str]:
        """Yield the path of a durable temporary file that holds the parts; then remove it."""
        folder = os.path.join(self.root, _TMP)
        self._make_folder(folder)
        self._sweep(folder)
        # The process id keeps names apart after a fork.
        path = os.path.join(folder, f"put-{self._unique}-{os.getpid()}-{next(self._counter)}")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _try_lock(fd)  # held until the file has its final name, to show that the writer lives
            file_io.write(fd, parts)
            file_io.sync(fd)
            file_io.forget(fd)
            yield path
        finally:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _rename_if_absent(self, temporary: str, path: str, key: str) -> None:
        """Rename to a new name; a lock file keeps others that do so from the same name."""
        with open(os.path.join(self.root, _TMP, "lock"), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.lexists(path):
                raise _key_exists(key)
            os.rename(temporary, path)

    def _make_folder(self, folder: str) -> None:
        if folder in self._made:
            return
        parent = os.path.dirname(folder)
        inside = len(folder) > len(self.root)
        # Also if the folder existed: its creator may not have called fsync yet.
        if inside or not os.path.isdir(parent):
            self._make_folder(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        try:
            sync_folder(parent)
        except PermissionError:  # a folder above the bucket may allow access, but not opening
            if inside:
                raise
        self._made.add(folder)

    def _sweep(self, folder: str) -> None:
        """Remove the temporary files of killed writers, once for each bucket object."""
        with self._lock:
            if self._swept:
                return
            self._swept = True
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.name.startswith("put-") and _is_abandoned(entry):
                        os.unlink(entry.path)


def _may_be_after(name: str, rest: str) -> bool:
    """Return whether a file of this name, or any file in a folder of this name, is after rest."""
    return name > rest or (name := name + "/") > rest or rest.startswith(name)


def _holds_a_file(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(not entry.is_dir() or _holds_a_file(entry.path) for entry in entries)
    except _MISSING:
        return False


def _key_exists(key: str) -> KeyExists:
    return KeyExists(f"The key exists already. Received: {key!r}")


def _try_lock(fd: int, *, wait: bool = False) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # held by a living writer, or a file system without locks
        return False
    return True


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    if time.time() - entry.stat().st_mtime < _SWEEP_AFTER:
        return False
    with open(entry.path, "rb") as file:
        return _try_lock(file.fileno())
