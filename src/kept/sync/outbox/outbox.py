"""The outbox: checkpoints, on disk, that a destination has not confirmed yet.

    <outbox>/<20 digits>-<write_id>/entry.json    the version to make, and its destination; sealed
    <outbox>/<20 digits>-<write_id>/refused.json  why the destination rejects it, see rejected.py
    <outbox>/<20 digits>-<write_id>/files/<n>     the bytes: hard links, so no second copy exists
    <outbox>/tmp-<write_id>/…                     an entry during its creation or removal
    <outbox>/*.lock                               held by a living process

Invariant: an entry gets its final name once its bytes and its record are on the disk. It loses that
name, in one step, once its destination has confirmed it. So a killed process leaves whole entries,
and tmp- folders that can be removed. An empty outbox is removed with its folder.

If the bytes are on another file system than the outbox, `files` is a symbolic link to a folder
there with the hard links. The bytes are copied only if the file system has no hard links.

A folder of an outbox can be copied to another machine if links are followed: an entry is what its
bytes are, whatever their times and inodes, see EntryFile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.bucket.file_io import sync_file, sync_folder
from kept.digest import digest, file_digest
from kept.errors import Damaged, DamageWarning
from kept.names import check_paths
from kept.store.encoding import seal
from kept.store.metadata import check_metadata
from kept.sync.outbox.entry import FILES as _FILES
from kept.sync.outbox.entry import RECORD as _RECORD
from kept.sync.outbox.entry import Entry, entry_of, read_entry
from kept.sync.outbox.file_lock import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from kept.store.encoding import Json

_ENTRY = re.compile(r"([0-9]{20})-([0-9a-f]{32})")
_ELSEWHERE = ".kept-outbox-"
_CANNOT_LINK = {
    errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK
}  # fmt: skip


def default_folder() -> str:
    """Return the folder of the outbox: $KEPT_OUTBOX, or kept-outbox in the working directory."""
    return os.path.abspath(os.environ.get("KEPT_OUTBOX") or "kept-outbox")


class Outbox:
    """Entries in a folder, which exists while it has any. For many threads and processes."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        """Take the folder, or default_folder(); create and read nothing."""
        self.folder = os.path.abspath(folder) if folder is not None else default_folder()

    def add(
        self,
        destination: str,
        files: Mapping[str, str | os.PathLike[str]],
        info: Mapping[str, Json],
        beside: str | os.PathLike[str] | None = None,
    ) -> Entry:
        """Add files (path in the version -> file on the disk); the entry is durable on return.

        The bytes are not copied: the entry has hard links. So the files may be deleted, moved or
        replaced, but not changed in place. info is JSON, with the key "artifact". beside is a
        lasting folder on the file system of the files, for links if that is not the outbox's; by
        default the folder of the first file.

        Raises InvalidPath, InvalidMetadata, or OSError; then there is no entry.
        """
        check_paths(files)
        write_id = os.urandom(16).hex()
        beside = beside or os.path.dirname(os.fspath(next(iter(files.values()), ".")))
        with self._writing(write_id) as folder:
            record = {
                "content": check_metadata(info),
                "destination": destination,
                "files": _link_all(files, folder, f"{beside or '.'}/{_ELSEWHERE}{write_id}"),
                "time": datetime.now(UTC).isoformat(),
                "write_id": write_id,
            }
            with open(os.path.join(folder, _RECORD), "xb") as file:
                file.write(seal(record))
            sync_file(os.path.join(folder, _RECORD))
            sync_folder(folder)
            with locked(self._lock):
                number = max((number for number, _ in self._listed()), default=0) + 1
                final = os.path.join(self.folder, f"{number:020}-{write_id}")
                os.rename(folder, final)
            sync_folder(self.folder)
            sync_folder(
                os.path.dirname(self.folder)
            )  # the process that created it may not have done so yet
        return entry_of(number, final, record)

    def entries(self, destination: str | None = None) -> list[Entry]:
        """Return the entries, for one destination or all, in the order of add.

        A DamageWarning names an entry that cannot be read; it stays.
        """
        found = [entry for each in self._listed() if (entry := _readable(*each))]
        return [entry for entry in found if destination in (None, entry.destination)]

    def confirm(self, entry: Entry) -> None:
        """Remove an entry that its destination has; a removed entry is no error."""
        removed = os.path.join(self.folder, f"tmp-{entry.write_id}")
        # Not synced: if a power cut brings it back, its destination recognizes the write_id.
        with contextlib.suppress(FileNotFoundError):
            os.rename(entry.folder, removed)
            _remove(removed)
        if not self._listed():
            self.tidy()

    def drop(self, entry: Entry) -> None:
        """Remove an entry that its destination will not get."""
        self.confirm(entry)

    def draining(self, destination: str) -> AbstractContextManager[bool]:
        """Claim a destination for a block, so that one process at a time sends to it.

        Yields False if another process or thread has the claim. A claim ends with its process.
        """
        return self._claimed(f"sending-{digest(destination.encode())[:16]}.lock")

    def tidy(self) -> None:
        """Remove what killed processes have left, and the folder if it is empty."""
        if not os.path.isdir(self.folder):
            return
        with locked(self._lock):
            self._sweep()
        with contextlib.suppress(OSError):  # not empty, or another process was faster
            os.rmdir(self.folder)

    @property
    def _lock(self) -> str:
        return os.path.join(self.folder, "outbox.lock")

    @contextlib.contextmanager
    def _claimed(self, name: str) -> Iterator[bool]:
        try:
            with locked(os.path.join(self.folder, name), wait=False) as mine:
                yield mine
        finally:
            self.tidy()

    @contextlib.contextmanager
    def _writing(self, write_id: str) -> Iterator[str]:
        """Yield a new folder that is safe from _sweep; remove it afterwards if it still exists."""
        folder = os.path.join(self.folder, f"tmp-{write_id}")
        with contextlib.ExitStack() as stack:
            with locked(self._lock):
                self._sweep()
                stack.enter_context(locked(f"{folder}.lock", wait=False))
                os.mkdir(folder)
            try:
                yield folder
            finally:
                _remove(folder)

    def _listed(self) -> list[tuple[int, str]]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        found = filter(None, map(_ENTRY.fullmatch, names))
        return sorted((int(match[1]), os.path.join(self.folder, match[0])) for match in found)

    def _sweep(self) -> None:
        names = os.listdir(self.folder)
        temporary = {n.removesuffix(".lock") for n in names if n.startswith(("tmp-", "sending-"))}
        for path in (os.path.join(self.folder, name) for name in temporary):
            with locked(f"{path}.lock", wait=False) as abandoned:
                if abandoned:
                    _remove(path)  # a claim has no folder, only the lock, which this block removes


def _readable(number: int, folder: str) -> Entry | None:
    try:
        return read_entry(number, folder)
    except Damaged as error:
        message = f"{error}: this checkpoint is not sent. Remove its folder if you do not need it."
        warnings.warn(message, DamageWarning, stacklevel=4)
        return None


def _link_all(
    files: Mapping[str, str | os.PathLike[str]], folder: str, elsewhere: str
) -> list[tuple[str, int, int, str]]:
    """Link files into a folder, durably; return the path, size, time and digest of each."""
    ordered = sorted((path, os.fspath(file)) for path, file in files.items())
    inside = os.path.join(folder, _FILES)
    if ordered and os.stat(ordered[0][1]).st_dev != os.stat(folder).st_dev:
        os.symlink(os.path.abspath(elsewhere), inside)  # first, so that a sweep finds it
        os.makedirs(elsewhere)
        sync_folder(os.path.dirname(elsewhere))
    else:
        os.mkdir(inside)
    linked = []
    for n, (path, file) in enumerate(ordered):
        target = os.path.join(inside, str(n))
        _link(file, target)
        sync_file(target)
        found = os.stat(target)
        linked.append((path, found.st_size, found.st_mtime_ns, file_digest(target)))
    sync_folder(inside)
    return linked


def _link(file: str, target: str) -> None:
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copy2(file, target)


def _remove(folder: str) -> None:
    files = os.path.join(folder, _FILES)
    if os.path.islink(files):
        target, write_id = os.readlink(files), folder[-32:]
        if os.path.basename(target) == f"{_ELSEWHERE}{write_id}":  # the outbox made it itself
            shutil.rmtree(target, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
