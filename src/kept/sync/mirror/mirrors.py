"""Mirrors that follow a store while a model trains: each has a courier.

The two logs show what a mirror lacks (replicate.py). So only one note has to be durable here: that
an artifact has a mirror.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kept.errors import InvalidInput
from kept.store.open import open_bucket
from kept.store.receipts import Receipts
from kept.store.store import Store
from kept.sync.courier import Courier, Words, finish_all
from kept.sync.mirror.replicate import Sync

if TYPE_CHECKING:
    from collections.abc import Iterable

    Where = str | os.PathLike[str] | Store


class Mirror:
    """Copies artifacts to a second store; the keys of its courier are artifacts."""

    def __init__(self, store: Store, where: Where) -> None:
        """Name the second store; only the courier's thread reads it. Raises InvalidInput."""
        self._store = store
        self._bucket = where.bucket if isinstance(where, Store) else open_bucket(where)
        self.location = self._bucket.location
        if self.location == store.location:
            raise InvalidInput(f"A store cannot be its own mirror. Received: {self.location!r}")
        self._receipts = Receipts(store.bucket, self.location)
        self._target: Store | None = None
        self._syncs: dict[str, Sync] = {}
        later = f"the next run continues, or: kept sync {store.location} {self.location}"
        words = Words(f"the mirror {self.location}", store.location, later)
        self.courier = Courier(self, words, counts=True)

    def begin(self, artifact: str) -> None:
        """Note durably that the artifact has a mirror, and copy what an earlier run has left."""
        self._receipts.register(artifact)
        self.courier.wake(artifact, *self._receipts.artifacts())

    def send(self, what: str) -> None:
        """Copy what the mirror lacks of an artifact; raises what Sync.run raises."""
        if self._target is None:
            self._target = Store(self._bucket)
        if not self._store.log(what).view().head:
            return  # registered, and nothing committed yet
        sync = self._syncs.setdefault(what, Sync(self._store, self._target, what))
        sync.run(self._receipts, self.courier.count)


class Mirrors:
    """All mirrors of a store."""

    def __init__(self, store: Store, where: Where | Iterable[Where] | None) -> None:
        """Take one place, several or none. Raises InvalidInput."""
        self._all = [Mirror(store, place) for place in _listed(where)]
        locations = [mirror.location for mirror in self._all]
        if len(set(locations)) < len(locations):
            raise InvalidInput(f"Two mirrors are the same place. Received: {locations!r}")

    def begin(self, artifact: str) -> None:
        """See Mirror.begin."""
        for mirror in self._all:
            mirror.begin(artifact)

    def wake(self, artifact: str) -> None:
        """Copy an artifact to each mirror; return at once."""
        for mirror in self._all:
            mirror.courier.wake(artifact)

    def finish(self) -> None:
        """Wait a while for mirrors that answer; report what is left."""
        finish_all([mirror.courier for mirror in self._all])


def _listed(where: Where | Iterable[Where] | None) -> list[Where]:
    if where is None:
        return []
    return [where] if isinstance(where, (str, os.PathLike, Store)) else list(where)
