"""The outbox: checkpoints, on disk, that a destination has not confirmed yet.

    <outbox>/<20 digits>-<write_id>/entry.json    what is to be sent, and where; sealed
    <outbox>/<20 digits>-<write_id>/refused.json  why its destination refuses it, see refusals.py
    <outbox>/<20 digits>-<write_id>/files/<n>     the bytes: hard links, so there is no second copy
    <outbox>/tmp-<write_id>/…                     an entry that is being written or removed
    <outbox>/*.lock                               held by a living process

Invariant: an entry has its final name only when its bytes and its record are on the disk, and it
loses that name, in one step, only when its destination has confirmed it. So what a killed process
leaves is whole entries, and tmp- folders that nobody needs. An outbox in which nothing is left is
removed, folder and all.

Where the bytes lie on another file system than the outbox, `files` is a symbolic link to a folder
over there that holds the hard links. Only where there are no hard links at all are they copied.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.bucket.file_io import sync_file, sync_folder
from kept.digest import digest
from kept.errors import Damaged
from kept.names import check_paths
from kept.store.encoding import Json, seal, unseal
from kept.store.metadata import check_metadata
from kept.sync.outbox.file_lock import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

_ENTRY = re.compile(r"([0-9]{20})-([0-9a-f]{32})")
_RECORD = "entry.json"
_FILES = "files"
_ELSEWHERE = ".kept-outbox-"
_CANNOT_LINK = {
    errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK
}  # fmt: skip


class File(NamedTuple):
    """A file of an entry."""

    path: str  # in the version
    file: str  # on the disk
    size: int
    modified: int  # nanoseconds


@dataclass(frozen=True, slots=True)
class Entry:
    """A checkpoint that waits for its destination's confirmation."""

    number: int  # ascending in the order in which entries were added
    write_id: str  # random, so that a destination can tell whether it has the entry already
    destination: str
    time: str  # when it was added: UTC, ISO 8601
    files: tuple[File, ...]
    content: dict[str, Json]
    folder: str

    @property
    def artifact(self) -> str:
        """The name of the artifact that the checkpoint is to be a version of."""
        return str(self.content["artifact"])

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)

    def check(self) -> None:
        """Raise Damaged if the bytes are not those that were added."""
        for file in self.files:
            try:
                found = os.stat(file.file)
            except OSError as error:
                raise Damaged(f"{file.path} in {self.folder} is gone: {error}") from None
            if (found.st_size, found.st_mtime_ns) != (file.size, file.modified):
                raise Damaged(
                    f"{file.path} in {self.folder} was changed in place by another program after "
                    "it was saved, so it is not sent."
                )


def default_folder() -> str:
    """Return where the outbox lies: $KEPT_OUTBOX, or kept-outbox in the working directory."""
    return os.path.abspath(os.environ.get("KEPT_OUTBOX") or "kept-outbox")


class Outbox:
    """Entries in a folder that exists while there are any. For many threads and processes."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        """Take the folder, or default_folder(); nothing is made or read."""
        self.folder = os.path.abspath(folder) if folder is not None else default_folder()

    def add(
        self,
        destination: str,
        files: Mapping[str, str | os.PathLike[str]],
        content: Mapping[str, Json],
        beside: str | os.PathLike[str] | None = None,
    ) -> Entry:
        """Add files (path in the version -> file on the disk); durable on return.

        The bytes are not copied: the entry holds hard links, so the files may be deleted, moved
        or replaced, but not written to in place. content has the key "artifact" and is JSON;
        beside is a folder on the files' file system that lasts, for when that is not the
        outbox's: by default the first file's.

        Raises InvalidPath, InvalidMetadata, or OSError; then there is no entry.
        """
        check_paths(files)
        write_id = os.urandom(16).hex()
        beside = beside or os.path.dirname(os.fspath(next(iter(files.values()), ".")))
        with self._writing(write_id) as folder:
            record = {
                "content": check_metadata(content),
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
            sync_folder(os.path.dirname(self.folder))  # its maker may not have come to it
        return _entry(number, final, record)

    def entries(self, destination: str | None = None) -> list[Entry]:
        """Return what is not confirmed, in the order in which it was added.

        Raises Damaged.
        """
        found = (_read(number, folder) for number, folder in self._listed())
        return [entry for entry in found if entry and destination in (None, entry.destination)]

    def confirm(self, entry: Entry) -> None:
        """Remove an entry that its destination has; one that is removed already is no error."""
        removed = os.path.join(self.folder, f"tmp-{entry.write_id}")
        # Not synced: after a power cut it may be back, and its destination knows its write_id.
        with contextlib.suppress(FileNotFoundError):
            os.rename(entry.folder, removed)
            _remove(removed)
        if not self._listed():
            self.tidy()

    def drop(self, entry: Entry) -> None:
        """Remove an entry that its destination does not have and will not get."""
        self.confirm(entry)

    def draining(self, destination: str) -> AbstractContextManager[bool]:
        """Claim a destination for a block, so that one process at a time sends to it.

        Yields False if another one, or another thread, has the claim; it ends with its process.
        """
        return self._claimed(f"sending-{digest(destination.encode())[:16]}.lock")

    def tidy(self) -> None:
        """Remove what killed processes have left, and the folder if nothing is left in it."""
        if not os.path.isdir(self.folder):
            return
        with locked(self._lock):
            self._sweep()
        with contextlib.suppress(OSError):  # not empty, or somebody else was faster
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
        """Yield a new folder that nobody sweeps meanwhile; remove it if it is still there."""
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
        passing = {n.removesuffix(".lock") for n in names if n.startswith(("tmp-", "sending-"))}
        for path in (os.path.join(self.folder, name) for name in passing):
            with locked(f"{path}.lock", wait=False) as abandoned:
                if abandoned:
                    _remove(path)  # a claim is a lock only, which goes with the block


def _link_all(
    files: Mapping[str, str | os.PathLike[str]], folder: str, elsewhere: str
) -> list[tuple[str, int, int]]:
    """Link files into a folder, durably; return the path, size and time of each."""
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
        linked.append((path, found.st_size, found.st_mtime_ns))
    sync_folder(inside)
    return linked


def _link(file: str, target: str) -> None:
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copy2(file, target)


def _read(number: int, folder: str) -> Entry | None:
    """Return an entry, or None if it is confirmed meanwhile; raises Damaged."""
    path = os.path.join(folder, _RECORD)
    try:
        with open(path, "rb") as file:
            return _entry(number, folder, unseal(file.read(), path))
    except FileNotFoundError:
        if os.path.isdir(folder):
            raise Damaged(f"{path} is missing.") from None
        return None


def _entry(number: int, folder: str, record: Json) -> Entry:
    places = (os.path.join(folder, _FILES, str(n)) for n in itertools.count())
    return Entry(
        number=number,
        write_id=record["write_id"],
        destination=record["destination"],
        time=record["time"],
        files=tuple(
            File(path, place, size, modified)
            for (path, size, modified), place in zip(record["files"], places, strict=False)
        ),
        content=record["content"],
        folder=folder,
    )


def _remove(folder: str) -> None:
    files = os.path.join(folder, _FILES)
    if os.path.islink(files):
        shutil.rmtree(os.readlink(files), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
