"""What follows a commit: old versions, their bytes, local files, scrubbing, and compaction.

Nothing here can fail a save: the checkpoint is durable already, and the next commit tries again.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from kept.bucket.local import LocalBucket
from kept.errors import KeptError, StoreReplaced
from kept.messages import show
from kept.store.log.overview import note_in_time
from kept.store.version import take_written
from kept.training.upkeep.compaction import BackgroundCompactor
from kept.training.upkeep.gc import BackgroundGC
from kept.training.upkeep.local_files import LocalFiles
from kept.training.upkeep.scrub import BackgroundScrub
from kept.units import parse_span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.options import Options
    from kept.training.request import SaveResult
    from kept.training.save.path_template import PathTemplate


class Upkeep:
    """Applies keep=, gc=, keep_local=, scrub= and compression= of a callback to its saves.

    The methods saved and arrived run on the thread that committed the version.
    """

    def __init__(self, path: PathTemplate, options: Options) -> None:
        self.versions: list[Version] = []  # that the callback committed, oldest first
        self._keep = options.keep
        frees = options.keep is not None and options.gc is not None
        self._gc = BackgroundGC(parse_span(options.gc or 0, "gc")) if frees else None
        rule = options.local_rule
        self._local = LocalFiles(path, rule) if rule else None
        self._compactor = BackgroundCompactor(options.compression)
        share = options.share_scrubbed
        self._scrub = BackgroundScrub(share) if share else None

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
            with _reported("the work after a save failed"):
                if result.version is not None:
                    self._committed(result.version)
                    self._published(result.version, result.file)
        finally:
            self._compactor.save_ends()
            if self._scrub is not None:
                self._scrub.save_ends()

    def arrived(self, version: Version) -> None:
        """Do the work that follows when a version has reached object storage."""
        with _reported("the work after an upload failed"):
            self._committed(version)
            self._tidy(version.store, version.name)  # the file was published before

    def finish_compaction(self) -> str | None:
        """Wait a while for the compactor; return a report of what it did."""
        return self._compactor.finish()

    def finish(self) -> None:
        """Do the work once more, after mirrors confirmed the last version."""
        if not self.versions:
            return
        store, name = self.versions[-1].store, self.versions[-1].name
        self._prune(store, name)
        self._tidy(store, name)
        if self._gc is not None:
            self._gc.finish(store, name)
        if self._scrub is not None:
            self._scrub.finish()
        note_in_time(store.logs)

    def close(self) -> None:
        """End the work beside the training."""
        self._compactor.close()
        if self._scrub is not None:
            self._scrub.close()

    def make_room(self, store: Store | None, artifact: str) -> bool:
        """Free at once what keep= deletes, on a full disk; return whether that freed any bytes."""
        if self._gc is None or store is None or not isinstance(store.bucket, LocalBucket):
            return False
        try:
            if self._keep is not None:
                store.prune(artifact, self._keep)
            return self._gc.collect_now(store, artifact)
        except (KeptError, OSError):  # the save fails with the disk's own error
            return False

    def _committed(self, version: Version) -> None:
        self.versions.append(version)
        written = take_written(version)
        if self._gc is not None:
            self._gc.committed(version.store, version.name, written)
        if self._scrub is not None:
            self._scrub.committed(version, written)
        self._compactor.committed(version)
        self._prune(version.store, version.name)
        if self._gc is not None:
            self._gc.wake(version.store, version.name)

    def _published(self, version: Version, file: str | None) -> None:
        if self._local is not None and file is not None:
            with _reported(f"{file} is missing"):
                self._local.published(file, version)
            self._tidy(version.store, version.name)

    def _prune(self, store: Store, name: str) -> None:
        if self._keep is not None:
            with _reported(f"old versions of {name} could not be deleted, they stay"):
                store.prune(name, self._keep)

    def _tidy(self, store: Store, name: str) -> None:
        if self._local is not None:
            with _reported(f"old files of {name} could not be removed, they stay"):
                self._local.tidy(store, name)


@contextlib.contextmanager
def _reported(what: str) -> Iterator[None]:
    """Print an error of the block as a message."""
    try:
        yield
    except StoreReplaced:  # the save, or what sends to the store, reports it
        pass
    except Exception as error:  # noqa: BLE001 - the checkpoint itself is safe
        show(f"{what}: {error}")
