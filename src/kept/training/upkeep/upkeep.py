"""What follows a commit: old versions, their bytes, local files, scrubbing, and compaction.

Nothing here can fail a save: the checkpoint is durable already, and the next commit tries again.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from kept.bucket.local import LocalBucket
from kept.bucket.reach import PATIENCE as _PATIENCE
from kept.errors import KeptError
from kept.parallel import within
from kept.store.log.history import version_records
from kept.store.log.overview import note_in_time
from kept.store.retention.delete import prune
from kept.store.version import as_of, take_written
from kept.training.upkeep.compaction import BackgroundCompactor
from kept.training.upkeep.gc import BackgroundGC
from kept.training.upkeep.local_files import LocalFiles
from kept.training.upkeep.on_commit import CommitCalls
from kept.training.upkeep.retention import Retention, reported
from kept.training.upkeep.scrub import BackgroundScrub
from kept.units import parse_span

if TYPE_CHECKING:
    from kept.store.log.history import VersionRecord
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.destinations.base import Destination
    from kept.training.options import Options
    from kept.training.request import SaveResult
    from kept.training.save.path_template import PathTemplate


class Upkeep:
    """Applies the options of a callback about its saved checkpoints.

    The methods saved and arrived run on the thread that committed the version.
    """

    def __init__(self, path: PathTemplate | None, options: Options) -> None:
        self.versions: list[Version] = []  # that the callback committed, oldest first
        self._keep = options.keep
        frees = options.keep is not None and options.gc is not None
        self._gc = BackgroundGC(parse_span(options.gc or 0, "gc")) if frees else None
        rule = options.local_rule
        self._local = LocalFiles(path, rule) if path and rule else None
        self._retention = Retention(options.keep, self._local)
        self._compactor = BackgroundCompactor(options.compression)
        share = options.share_scrubbed
        self._scrub = BackgroundScrub(share) if share else None
        self._calls = CommitCalls(options, self)

    def versions_now(self) -> list[Version]:
        """Return the versions with what their log says now; if it cannot be read, as before."""
        if not self.versions:
            return []
        # A callback logs to one store; two fits without a name may have used two artifacts.
        store, names = self.versions[0].store, {version.name for version in self.versions}
        found: dict[tuple[str, int], VersionRecord] = {}
        with contextlib.suppress(KeptError, OSError, TimeoutError):
            for name in names:
                for record in within(_PATIENCE, partial(_records, store, name)):
                    found[name, record.index] = record
        return [as_of(v, found.get((v.name, v.index), v.record)) for v in self.versions]

    def begin(self) -> None:
        """Note that a fit begins."""
        self._compactor.begin()
        if self._scrub is not None:
            self._scrub.begin()

    def save_begins(self) -> None:
        """Pause the work beside the training until the save has its result."""
        self._compactor.save_begins()
        if self._scrub is not None:
            self._scrub.save_begins()

    def saved(self, result: SaveResult) -> None:
        """Do the work that follows a save."""
        try:
            with reported("the work after a save failed"):
                if result.version is not None:
                    self._committed(result.version)
                    self._published(result.version, result.file)
                    self._retain(result.version)
        finally:
            self._compactor.save_ends()
            if self._scrub is not None:
                self._scrub.save_ends()

    def arrived(self, version: Version) -> None:
        """Do the work that follows when a version has reached object storage."""
        with reported("the work after an upload failed"):
            self._committed(version)
            self._retain(version)  # the file was published before

    def called(self, version: Version) -> None:
        """Do the work that follows when on_commit= has had all versions so far."""
        with reported("the work after on_commit failed"):
            self._retain(version)

    def finish_compaction(self) -> str | None:
        """Wait a while for the compactor; return a report of what it did."""
        return self._compactor.finish()

    def finish_copies(self, destination: Destination) -> None:
        """Wait a while for on_commit= and for copies that are on their way.

        A version that arrives meanwhile gets its call, and mirrors get the metrics of the calls.
        """
        for name in self._calls.finish():
            destination.changed(name)
        destination.finish()
        if logged := self._calls.finish():  # of versions that arrived meanwhile
            for name in logged:
                destination.changed(name)
            destination.finish()

    def finish(self) -> None:
        """Do the work once more, after mirrors confirmed the last version."""
        if not self.versions:
            return
        store, name = self.versions[-1].store, self.versions[-1].name
        with reported("the work at the end of the fit failed"):
            if not self._calls.pending:
                self._retention.finish(store, name)
            if self._gc is not None:
                self._gc.finish(store, name)
            if self._scrub is not None:
                self._scrub.finish()
            note_in_time(store.logs)

    def close(self) -> None:
        """End the work beside the training; the calls of on_commit= are waited for."""
        self._calls.finish()
        self._compactor.close()
        if self._scrub is not None:
            self._scrub.close()

    def make_room(self, store: Store | None, artifact: str) -> bool:
        """Free at once what keep= deletes, on a full disk; return whether that freed any bytes.

        The save waits for this, so no mirror in object storage is asked: if the artifact has one,
        this deletes no further version, and frees the bytes of those that are deleted already.
        """
        if self._gc is None or store is None or not isinstance(store.bucket, LocalBucket):
            return False
        try:
            if self._keep is not None:
                prune(store.log(artifact), self._keep, waits=False)
            return self._gc.collect_now(store, artifact)
        except (KeptError, OSError):  # the save fails with the disk's own error
            return False

    def _committed(self, version: Version) -> None:
        self.versions.append(version)
        written = take_written(version)
        if self._gc is not None:
            self._gc.committed(version, written)
        if self._scrub is not None:
            self._scrub.committed(version, written)
        self._compactor.committed(version)
        self._calls.committed(version)

    def _published(self, version: Version, file: str | None) -> None:
        if self._local is not None and file is not None:
            with reported(f"{file} is missing"):
                self._local.published(file, version)

    def _retain(self, version: Version) -> None:
        if self._calls.pending:  # no version is deleted before it is evaluated
            return
        self._retention.apply(version.store, version.name)
        if self._gc is not None:
            self._gc.wake(version.store, version.name)


def _records(store: Store, name: str) -> list[VersionRecord]:
    return list(version_records(store.log(name).view().facts()))
