"""Local checkpoint files by rule: which of them are removed.

Invariant: a file is removed only if its version is committed (in object storage: has arrived), no
rule keeps it, and it is the file of that version: as this process published it, or compared byte by
byte. The log and filepath say which file belongs to a version, so a resumed run decides alike.
"""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kept.digest import digest
from kept.errors import Damaged, InvalidCheckpoint
from kept.store.content.manifest import read_manifest
from kept.store.log.history import version_records
from kept.store.receipts import mirrored_up_to
from kept.store.retention.policy import decide
from kept.training.save import checkpoint_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.bucket.base import Bucket
    from kept.store.content.manifest import File
    from kept.store.log.history import VersionRecord
    from kept.store.retention.keep import Keep
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.save.path_template import PathTemplate

    Look = tuple[tuple[str, int, int, int], ...]  # of each file: path, inode, bytes, time of change


class LocalFiles:
    """The files that a callback leaves at filepath, and the rule for them. For many threads."""

    def __init__(self, path: PathTemplate, keep: Keep) -> None:
        self._path, self._keep = path, keep
        self._own: dict[str, tuple[int, Look]] = {}  # place -> the version, and how it was left
        self._held: dict[tuple[str, int], Mapping[str, File]] = {}  # what others' versions hold
        self._gone: set[tuple[str, int]] = set()  # versions whose file is not there any more
        self._lock = threading.Lock()

    def published(self, place: str, version: Version) -> None:
        """Note that the file at a place is that of a version, which is committed."""
        self._own[place] = (version.index, _look(place))

    def tidy(self, store: Store, name: str) -> None:
        """Remove the files of an artifact that the rule does not keep; raises OSError, KeptError.

        Rules count versions that have a file. What no retention may delete keeps its file, too.
        """
        with self._lock:
            newest_first = list(version_records(store.log(name).view().backwards()))
            places = self._places(name, newest_first)
            there = [entry for entry in reversed(newest_first) if entry.index in places]
            mirrored = mirrored_up_to(store.bucket, name)
            for found in decide(there, self._keep, datetime.now(UTC), mirrored, _size):
                entry, place = found.record, places[found.record.index]
                own = self._own.get(place)
                if not found.keep:
                    self._remove(store.bucket, name, entry, place)
                elif own is None or own[0] != entry.index:
                    self._files(store.bucket, name, entry)  # a gc may take the manifest before

    def _places(self, name: str, newest_first: list[VersionRecord]) -> dict[int, str]:
        """Return where the files are that may be those of versions, by number.

        The file at a place is that of the newest version that belongs there, or of none.
        """
        found: dict[str, int] = {}
        for entry in newest_first:
            place = None if (name, entry.index) in self._gone else self._place(entry)
            if place is not None and place not in found:
                found[place] = entry.index
            elif entry is not newest_first[0]:  # its file may be still to come
                self._gone.add((name, entry.index))
        return {index: place for place, index in found.items()}

    def _place(self, entry: VersionRecord) -> str | None:
        told = entry.metadata
        try:
            metrics = {name: _number(m) for name, m in (told.get("metrics") or {}).items()}
            place = self._path.fill(told["epoch"], told["batch"], metrics)
        except (InvalidCheckpoint, LookupError, TypeError, AttributeError):
            return None  # not the version of a callback
        return place if checkpoint_files.exists(place) else None

    def _remove(self, bucket: Bucket, name: str, entry: VersionRecord, place: str) -> None:
        look = _look(place)
        is_own = self._own.get(place) == (entry.index, look)
        if not is_own and not _is_held(self._files(bucket, name, entry), place):
            return
        if _look(place) == look:  # it is still what was compared
            checkpoint_files.remove(place)
        self._own.pop(place, None)
        self._held.pop((name, entry.index), None)

    def _files(self, bucket: Bucket, name: str, entry: VersionRecord) -> Mapping[str, File]:
        """Return the files that a version holds, none if that cannot be told any more."""
        key = (name, entry.index)
        if key not in self._held:
            with contextlib.suppress(Damaged):
                self._held[key] = {f.path: f for f in read_manifest(bucket, entry).files}
        return self._held.get(key, {})


def _look(place: str) -> Look:
    """Return how a checkpoint's files look from outside; any that is written anew looks other."""
    found = (
        (file, os.stat(file)) for file in sorted(checkpoint_files.own_files_of(place).values())
    )
    return tuple((file, s.st_ino, s.st_size, s.st_mtime_ns) for file, s in found)


def _is_held(held: Mapping[str, File], place: str) -> bool:
    """Return whether a version that holds these has all files of a checkpoint as they are."""
    files = checkpoint_files.own_files_of(place)
    return bool(files) and all(
        name in held and _is_the_same(path, held[name]) for name, path in files.items()
    )


def _is_the_same(path: str, held: File) -> bool:
    if os.stat(path).st_size != held.size:
        return False
    with open(path, "rb") as file:
        return all(digest(file.read(chunk.size)) == chunk.digest for chunk in held.chunks)


def _size(entry: VersionRecord) -> Mapping[str, int]:
    return {str(entry.index): entry.size}  # files share no bytes


def _number(metric: Any) -> Any:
    return float(metric) if metric in ("nan", "inf", "-inf") else metric  # as in metadata
