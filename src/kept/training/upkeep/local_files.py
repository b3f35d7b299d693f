"""Local checkpoint files by rule: which of them are removed.

Invariant: a file is removed only if its version is committed (in object storage: has arrived), no
rule keeps it, and it is the file of that version: as this process published it, or compared byte by
byte. A folder is always compared, because it may hold other files. The log and filepath say which
file belongs to a version, so a resumed run decides alike.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from kept.errors import Damaged, InvalidCheckpoint
from kept.fork_safe_lock import fork_safe_lock
from kept.store.content.compare import holds
from kept.store.content.read_manifest import read_manifest
from kept.store.log.history import version_records
from kept.store.receipts import receipts_of
from kept.store.retention.mirrored import decide_now
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

    Fingerprint = tuple[tuple[str, int, int, int], ...]  # per file: path, inode, bytes, mtime


class LocalFiles:
    """The files that a callback leaves at filepath, and the rule for them. For many threads."""

    def __init__(self, path: PathTemplate, keep: Keep) -> None:
        self._path, self._keep = path, keep
        self._own: dict[str, tuple[int, Fingerprint]] = {}  # place -> its version, as published
        self._held: dict[tuple[str, int], Mapping[str, File]] = {}  # version -> its files
        self._gone: set[tuple[str, int]] = set()  # versions whose local file is missing
        self._lock = fork_safe_lock()

    def published(self, place: str, version: Version) -> None:
        """Note that the file at a place is that of a committed version."""
        files = checkpoint_files.own_files_of(place, self._path.format)
        self._own[place] = (version.index, _fingerprint(files))

    def tidy(self, store: Store, name: str) -> None:
        """Remove the files of an artifact that the rule does not keep; raises OSError, KeptError.

        Rules count only versions that have a file. A version that no retention may delete keeps its
        file, too. The lock is not held while mirrors are asked: one may be silent.
        """
        newest_first = list(version_records(store.log(name).view().facts()))
        with self._lock:
            places = self._places(name, newest_first)
        local = [record for record in reversed(newest_first) if record.index in places]
        receipts = receipts_of(store.bucket, name)
        decisions = decide_now(local, self._keep, receipts, _FileSizes())
        with self._lock:
            for decision in decisions:
                record, place = decision.record, places[decision.record.index]
                own = self._own.get(place)
                if not checkpoint_files.exists(place, self._path.format):
                    continue  # another thread has removed it meanwhile
                if not decision.keep:
                    self._remove(store.bucket, name, record, place)
                elif own is None or own[0] != record.index:
                    self._files(store.bucket, name, record)  # before a gc deletes the manifest

    def _places(self, name: str, newest_first: list[VersionRecord]) -> dict[int, str]:
        """Map versions to the places of files that may be theirs.

        The file at a place can only be that of the newest version that has this place.
        """
        found: dict[str, int] = {}
        for record in newest_first:
            place = None if (name, record.index) in self._gone else self._place(record)
            if place is not None and place not in found:
                found[place] = record.index
            elif record is not newest_first[0]:  # the newest file may not be published yet
                self._gone.add((name, record.index))
        return {index: place for place, index in found.items()}

    def _place(self, record: VersionRecord) -> str | None:
        metadata = record.metadata
        try:
            metrics = {name: _number(m) for name, m in (metadata.get("metrics") or {}).items()}
            place = self._path.fill(metadata["epoch"], metadata["batch"], metrics)
        except (InvalidCheckpoint, LookupError, TypeError, AttributeError):
            return None  # no callback made this version
        return place if checkpoint_files.exists(place, self._path.format) else None

    def _remove(self, bucket: Bucket, name: str, record: VersionRecord, place: str) -> None:
        files = checkpoint_files.own_files_of(place, self._path.format)
        found = _fingerprint(files)
        is_own = self._own.get(place) == (record.index, found) and not self._path.format.is_folder
        if not is_own and not holds(self._files(bucket, name, record), files):
            return
        if _fingerprint(files) == found:  # unchanged since it was compared
            checkpoint_files.remove(place, self._path.format)
        self._own.pop(place, None)
        self._held.pop((name, record.index), None)

    def _files(self, bucket: Bucket, name: str, record: VersionRecord) -> Mapping[str, File]:
        """Return the files of a version; none if its manifest cannot be read."""
        key = (name, record.index)
        if key not in self._held:
            with contextlib.suppress(Damaged):
                self._held[key] = {f.path: f for f in read_manifest(bucket, record).files}
        return self._held.get(key, {})


class _FileSizes:
    """See Sizes: local files share no bytes."""

    def of(self, record: VersionRecord) -> Mapping[str, int]:
        return {str(record.index): record.size}


def _fingerprint(files: Mapping[str, str]) -> Fingerprint:
    """Return what changes when a file of a checkpoint is written again."""
    found = ((file, os.stat(file)) for file in sorted(files.values()))
    return tuple((file, s.st_ino, s.st_size, s.st_mtime_ns) for file, s in found)


def _number(metric: Any) -> Any:
    return float(metric) if metric in ("nan", "inf", "-inf") else metric  # as in metadata
