"""What goes beside a training: versions by keep=, their bytes by gc=, local files by keep_local=.

Nothing here can fail a save: the checkpoint is safe already, and the next commit tries again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.bucket.local import LocalBucket
from kept.errors import KeptError
from kept.training.messages import show
from kept.training.upkeep.gc import BackgroundGC
from kept.training.upkeep.local_files import LocalFiles
from kept.units import parse_span

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.options import Options
    from kept.training.save.path_template import PathTemplate


class Upkeep:
    """What the options of a callback have removed after each of its saves."""

    def __init__(self, path: PathTemplate, options: Options) -> None:
        self._keep = options.keep
        frees = options.keep is not None and options.gc is not None
        self._freeing = BackgroundGC(parse_span(options.gc or 0, "gc"), show) if frees else None
        rule = options.local_rule
        self._local = LocalFiles(path, rule) if rule else None

    def committed(self, version: Version) -> None:
        """Do what is due after a commit; in object storage, the file is there already."""
        self._prune(version.store, version.name)
        if self._freeing is not None:
            self._freeing.wake(version.store, version.name)
        if version.store.bucket.is_remote:
            self._tidy(version.store, version.name)

    def published(self, path: str, version: Version | None) -> None:
        """Do what is due when the file of a version has got its final name."""
        local = self._local
        if local is not None and version is not None:
            _or_tell(f"{path} is not there", lambda: local.published(path, version))
            self._tidy(version.store, version.name)

    def end(self, newest: Version) -> None:
        """Do it once more, when mirrors have confirmed the last version."""
        store, name = newest.store, newest.name
        self._prune(store, name)
        self._tidy(store, name)
        if self._freeing is not None:
            self._freeing.finish(store, name)

    def make_room(self, store: Store | None, name: str) -> bool:
        """On a full disk, free at once what keep= has deleted; return whether that was any."""
        if self._freeing is None or store is None or not isinstance(store.bucket, LocalBucket):
            return False
        try:
            return self._freeing.now(store, name) > 0
        except (KeptError, OSError):  # the save fails by what the disk has said
            return False

    def _prune(self, store: Store, name: str) -> None:
        keep, what = self._keep, f"old versions of {name} could not be deleted, they stay"
        if keep is not None:
            _or_tell(what, lambda: store.prune(name, keep))

    def _tidy(self, store: Store, name: str) -> None:
        local, what = self._local, f"old files of {name} could not be removed, they stay"
        if local is not None:
            _or_tell(what, lambda: local.tidy(store, name))


def _or_tell(what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except (KeptError, OSError) as error:
        show(f"{what}: {error}")
