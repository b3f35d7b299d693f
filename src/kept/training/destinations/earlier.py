"""Finds the version of an artifact whose files stand on the disk now."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from kept.errors import Damaged, NotFound
from kept.store.content.compare import holds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.store.content.compare import Digests
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.monitor import Metric

_LOOKED_AT = 100  # of the newest versions; in object storage each costs a request
_LOOKED_AT_REMOTE = 5


def value_at(store: Store, artifact: str, files: Mapping[str, str], metric: Metric) -> float | None:
    """Return the metric of the newest version that holds these files, None if none does.

    files maps the paths in a version to files on the disk. The best version is looked at first.
    """
    known: Digests = {}
    for version in _candidates(store, artifact):
        value = metric.best_in(version.metadata)
        if value is not None and _is_of(version, files, known):
            return value
    return None


def _is_of(version: Version, files: Mapping[str, str], known: Digests) -> bool:
    try:
        held = {file.path: file for file in version.files}
    except Damaged:  # the version cannot be compared
        return False
    try:
        return holds(held, files, known)
    except OSError:  # a file was removed meanwhile, or cannot be read
        return False


def _candidates(store: Store, artifact: str) -> Iterator[Version]:
    most = _LOOKED_AT_REMOTE if store.bucket.is_remote else _LOOKED_AT
    with contextlib.suppress(NotFound, Damaged):
        yield store.version(f"{artifact}:best")
    with contextlib.suppress(NotFound, Damaged):
        yield from itertools.islice(store.newest_first(artifact), most)
