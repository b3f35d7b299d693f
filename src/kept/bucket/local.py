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
import os
import time
from typing import TYPE_CHECKING

from kept.bucket import file_io, local_read
from kept.bucket.base import Item, is_key, size_of
from kept.bucket.file_io import sync_folder
from kept.bucket.reserve import Reserve
from kept.bucket.temporary import Temporaries, try_lock
from kept.errors import KeyExists, KeyNotFound, NotDurable
from kept.parallel import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from kept.bucket.base import Parts
    from kept.bucket.transfer import Transfer

_TMP = "tmp"
_WRITERS = 4
_NAME_IS_YOUNG = 600.0  # seconds; far more than a writer needs from the name to the fsync
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LocalBucket:
    """A Bucket whose keys are files below a folder; the first write creates the folder."""

    is_remote = False
    concurrency = 1

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self._made: set[str] = set()  # folders known to exist durably
        self._tmp = os.path.join(self.root, _TMP)
        self._temporaries = Temporaries(self._tmp)
        self._reserve = Reserve(self._tmp)

    @property
    def location(self) -> str:
        return self.root

    def put(self, key: str, parts: Parts) -> None:
        for attempt in self._reserve.attempts():
            with attempt:
                folder = self._store(key, parts)
        self._sync_names(folder)

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
            self._sync_names(folder)

    def put_if_absent(self, key: str, parts: Parts) -> None:
        for attempt in self._reserve.attempts():
            with attempt:
                folder = self._create(key, parts)
        self._sync_names(folder)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        value = local_read.read_value(self.root, self._path(key), start, length)
        if value is None:
            raise self._missing(key)
        return value

    def size(self, key: str) -> int | None:
        path = self._path(key)
        found = local_read.file_stat(self.root, path)
        if found is None:
            return None
        if time.time() - found.st_ctime < _NAME_IS_YOUNG:  # its writer may not have synced it yet
            folder = os.path.dirname(path)
            with local_read.reading(folder):
                sync_folder(folder)
        return found.st_size

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        return self._keys(prefix, after, strays=not prefix)

    def _keys(self, prefix: str, after: str, *, strays: bool) -> Iterator[str]:
        for name, is_folder in self._listed(prefix, after, strays=strays):
            if is_folder:
                yield from self._keys(f"{prefix}{name}/", after, strays=strays)
            else:
                yield prefix + name

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        found = local_read.names(self.root, self._path(prefix))
        yield from sorted(name for name in found if name > after and is_key(name))

    def items(self, prefix: str, after: str = "") -> Iterator[Item]:
        for key in self.keys(prefix, after):
            found = local_read.entry_stat(self._path(key))
            if found is not None:  # else it was deleted since it was listed
                yield Item(key, found.st_size, found.st_mtime)

    def folders(self, prefix: str) -> Iterator[str]:
        # After a killed writer a folder may be empty.
        found = (
            entry.name
            for entry in local_read.entries(self.root, self._folder(prefix))
            if is_key(entry.name) and local_read.holds_a_file(entry)
        )
        yield from sorted(name for name in found if prefix or name != _TMP)

    def delete(self, key: str) -> None:
        with contextlib.suppress(*local_read.MISSING, IsADirectoryError):
            os.unlink(self._path(key))

    def move(self, key: str, target: str) -> None:
        source = self._path(key)
        path, folder = self._place(target)
        try:
            self._rename_if_absent(source, path, target)
        except local_read.MISSING:
            raise self._missing(key) from None
        self._sync_names(folder)
        self._sync_names(os.path.dirname(source))

    def spending_reserve(self) -> AbstractContextManager[None]:
        return self._reserve.spending()

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        for attempt in self._reserve.attempts():
            with attempt:
                fd = self._open_lock(name)
        try:
            yield try_lock(fd, wait=wait)
        finally:
            # Closing does not unlock if a process forked meanwhile has the file open, too.
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
            file_io.close(fd)

    def _open_lock(self, name: str) -> int:
        self._make_folder(self._tmp)
        path = os.path.join(self._tmp, f"{name}.lock")
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)

    def _path(self, key: str) -> str:
        return os.path.join(self.root, *key.split("/"))

    def _folder(self, prefix: str) -> str:
        return self._path(prefix[:-1]) if prefix else self.root

    def _missing(self, key: str) -> KeyNotFound:
        return KeyNotFound(f"No such key in {self.root}. Received: {key!r}")

    def _listed(
        self, prefix: str, after: str = "", *, strays: bool = False
    ) -> list[tuple[str, bool]]:
        """Return names and whether each is a folder, in the ascending order of whole keys.

        Names whose keys are not greater than after are left out.
        """
        if not after.startswith(prefix):  # then it is less than all keys here, or greater
            if after > prefix:
                return []
            after = prefix
        rest = after[len(prefix) :]
        folder = self._folder(prefix)
        if rest:  # few are left of many names: faster than an entry for each
            names = [name for name in local_read.names(self.root, folder)
                     if name > rest or rest.startswith(name)]  # fmt: skip
            every = [(name, os.path.isdir(os.path.join(folder, name))) for name in names]
        else:
            entries = local_read.entries(self.root, folder)
            every = [(entry.name, local_read.is_folder(entry)) for entry in entries]
        found = [each for each in every if strays or is_key(each[0])]
        if not prefix:
            found = [(name, is_folder) for name, is_folder in found if name != _TMP]
        if rest:
            found = [(name, is_folder) for name, is_folder in found if is_folder or name > rest]
        return sorted(found, key=lambda e: e[0] + "/" if e[1] else e[0])

    def _store(self, key: str, parts: Parts) -> str:
        """Store a value without making its name durable; return the folder to sync."""
        try:
            return self._store_once(key, parts)
        except FileNotFoundError:  # folders that this object made were removed
            self._made.clear()
            return self._store_once(key, parts)

    def _store_once(self, key: str, parts: Parts) -> str:
        path, folder = self._place(key)
        with self._temporaries.file(path, parts) as temporary:
            try:
                os.replace(temporary, path)
            except IsADirectoryError:
                local_read.check_is_file(path, os.lstat(path))
                raise
        return folder

    def _create(self, key: str, parts: Parts) -> str:
        """Store a value as _store does, or raise KeyExists."""
        try:
            return self._create_once(key, parts)
        except FileNotFoundError:  # folders that this object made were removed
            self._made.clear()
            return self._create_once(key, parts)

    def _create_once(self, key: str, parts: Parts) -> str:
        path, folder = self._place(key)
        with self._temporaries.file(path, parts) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise _key_exists(key) from None
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                # Stand-in for link(2), which the file system lacks (FAT, some FUSE).
                self._rename_if_absent(temporary, path, key)
        return folder

    def _sync_names(self, folder: str) -> None:
        """Make the names in a folder durable; raises NotDurable, as they are visible already."""
        try:
            sync_folder(folder)
        except OSError as error:
            raise NotDurable(
                f"{folder}: the new files are stored, but the disk did not confirm their names "
                f"({error.strerror or error}), so a power cut can remove them. Check the disk."
            ) from error

    def _place(self, key: str) -> tuple[str, str]:
        path = self._path(key)
        folder = os.path.dirname(path)
        self._make_folder(folder)
        self._make_folder(self._tmp)
        self._reserve.make_once()
        return path, folder

    def _rename_if_absent(self, temporary: str, path: str, key: str) -> None:
        """Rename to a new name; a lock file keeps others that do so from the same name."""
        with open(os.path.join(self._tmp, "lock"), "wb") as lock:
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
        try:
            os.mkdir(folder)
        except FileExistsError:
            local_read.check_is_folder(folder, os.stat(folder))
        try:
            sync_folder(parent)
        except PermissionError:  # a folder above the bucket may allow access, but not opening
            if inside:
                raise
        self._made.add(folder)


def _key_exists(key: str) -> KeyExists:
    return KeyExists(f"The key exists already. Received: {key!r}")
