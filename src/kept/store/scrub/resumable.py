"""Remembers which blobs an interrupted check of a store has read, so that another one can continue.

It is a file in the user's cache folder, never in the store: 128 bytes with a line of JSON, then a
mark of 16 bytes for each sound blob. A mark covers the blob's name, the chunks that versions name
in it, its size and the time when it was stored. So a blob that was stored or deleted since is read
again. Damage to the file cannot hide a blob, because a changed mark is the mark of no blob.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import DIGEST, digest
from kept.errors import Damaged
from kept.units import time_text
from kept.workspace import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket
    from kept.store.scrub.blobs import Needs

_MARK = 16  # bytes
_PAUSE = 2.0  # seconds between two writes
_KEPT = 30 * 86_400.0  # seconds; an older file is forgotten
_HEAD = 128  # bytes


class Interrupted(NamedTuple):
    """What an interrupted check has left."""

    began: str  # UTC, ISO 8601
    seed: str  # of its sample
    marks: frozenset[bytes]


class Bookmark:
    """The file of one check; an error of the disk costs the bookmark, and not the check."""

    def __init__(self, *what: str, resume: bool) -> None:
        """Pass texts that name the check: its store, version and options.

        With resume, the bookmark continues that of an interrupted check, if there is one.
        """
        name = f"verify-{digest(json.dumps(what).encode())[:32]}"
        self._path = os.path.join(cache_folder(), name)
        self.before = self._load() if resume else None
        self.seed = self.before.seed if self.before else digest(os.urandom(32))
        self._marks: dict[str, bytes] = {}
        self._fd: int | None = None
        self._pending: list[bytes] = []
        self._written = time.monotonic()

    def begin(self, marks: dict[str, bytes]) -> None:
        """Begin to write the file, or continue it; marks are those of the blobs to read."""
        self._marks = marks
        with contextlib.suppress(OSError):
            os.makedirs(cache_folder(), mode=0o700, exist_ok=True)
            _forget_old()
            if self.before is None:
                head = json.dumps({"began": time_text(datetime.now(UTC)), "seed": self.seed})
                _replace(self._path, head.encode().ljust(_HEAD - 1) + b"\n")
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            size = os.fstat(self._fd).st_size
            os.ftruncate(self._fd, size - size % _MARK)  # what a killed process wrote in part

    def has(self, blob: str) -> bool:
        """Return whether the interrupted check has read a blob, which is as it was then."""
        return self.before is not None and self._marks.get(blob) in self.before.marks

    def add(self, blob: str) -> None:
        """Note that a blob is sound."""
        if self._fd is not None and blob in self._marks:
            self._pending.append(self._marks[blob])
            if time.monotonic() - self._written >= _PAUSE:
                self._write()

    def end(self, *, is_done: bool) -> bool:
        """Close the file, and remove it if the check is done; return whether it can continue."""
        if self._fd is None:
            return False
        if not is_done:
            self._write()
        fd, self._fd = self._fd, None
        with contextlib.suppress(OSError):
            # Another check of the same kind may have replaced the file.
            is_own = os.path.samestat(os.fstat(fd), os.stat(self._path))
            os.close(fd)
            if is_done and is_own:
                os.unlink(self._path)
            return is_own and not is_done
        return False

    def _load(self) -> Interrupted | None:
        with contextlib.suppress(OSError), open(self._path, "rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime < _KEPT:
                return _parsed(file.read())
        return None

    def _write(self) -> None:
        assert self._fd is not None
        with contextlib.suppress(OSError):
            os.write(self._fd, b"".join(self._pending))
        self._pending, self._written = [], time.monotonic()


def marks(bucket: Bucket, needs: Needs, blobs: list[str]) -> dict[str, bytes]:
    """Return the mark of each blob, from a listing of the store; a blob without one is read."""
    wanted, found = set(blobs), {}
    with contextlib.suppress(Damaged, OSError):  # the blobs listed so far have marks
        for item in bucket.items("blobs/"):
            blob = item.key.rpartition("/")[2]
            if blob in wanted:
                facts = f"{item.size} {item.stored!r} ".encode() + needs.identity(blob)
                found[blob] = bytes.fromhex(digest(facts))[:_MARK]
    return found


def _parsed(data: bytes) -> Interrupted | None:
    try:
        value = json.loads(data[:_HEAD])
        began, seed = value["began"], value["seed"]
        is_valid = type(began) is str and type(seed) is str and DIGEST.fullmatch(seed)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    if not is_valid:
        return None
    return Interrupted(began, seed, frozenset(_cut(data[_HEAD:])))


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[start : start + _MARK] for start in range(0, len(data), _MARK))


def _replace(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


def _forget_old() -> None:
    with os.scandir(cache_folder()) as entries:
        for entry in entries:
            if entry.name.startswith("verify-") and time.time() - entry.stat().st_mtime > _KEPT:
                os.unlink(entry.path)
