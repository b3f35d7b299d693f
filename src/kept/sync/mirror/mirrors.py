"""Mirrors that follow a store while a model trains: each has a courier.

The two logs show what a mirror lacks (replicate.py). So only one note has to be durable here: that
an artifact has a mirror.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kept.errors import InvalidInput, StoreReplaced
from kept.messages import show
from kept.store.format_marker import known_id
from kept.store.log.overview import note_in_time
from kept.store.open import open_bucket
from kept.store.receipts import Receipts
from kept.store.store import Store
from kept.sync.courier import Courier, Words, finish_all
from kept.sync.mirror.protections import carry_protections
from kept.sync.mirror.replicate import Sync

if TYPE_CHECKING:
    from kept.store.promotion.protected import Protection

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
        self._replaced: StoreReplaced | None = None
        self._target: Store | None = None
        self._syncs: dict[str, Sync] = {}
        self._protections: set[Protection] = set()  # that the mirror has
        self._begun: set[str] = set()  # artifacts that this process logs to
        self._command = f"kept sync {store.location} {self.location}"
        later = f"the next run continues, or: {self._command}"
        words = Words(f"the mirror {self.location}", store.location, later)
        buckets = store.bucket, self._bucket
        self.courier = Courier(self, words, counts=True, buckets=buckets)

    @property
    def _receipts(self) -> Receipts:
        return Receipts(self._store.bucket, self.location, known_id(self._store.logs.marker))

    def begin(self, artifact: str) -> None:
        """Note durably that the artifact has a mirror, and copy what an earlier run has left."""
        if artifact not in self._begun:
            self._begun.add(artifact)
            self._receipts.register(artifact)
            self.courier.wake(artifact, *self._receipts.artifacts())
        self.courier.wake(artifact)

    def send(self, what: str) -> None:
        """Copy what the mirror lacks of an artifact; raises what Sync.run raises.

        If the mirror was emptied, replaced or restored, it confirms nothing any longer, and gets
        nothing more until the user fills it by kept sync. Raises StoreReplaced then.
        """
        head = self._store.log(what).view().head
        if not head or (what not in self._begun and self._is_confirmed(what, head)):
            return  # nothing committed yet, or the mirror has it
        if self._replaced is not None and not self._is_filled(what):
            raise self._replaced
        try:
            self._copy(what)
        except StoreReplaced as error:
            self._store.log(what).view()  # raises the same if the source itself was replaced
            self._receipts.revoke()
            self._replaced = StoreReplaced(f"{error} To fill it again: {self._command}")
            raise self._replaced from error

    def note(self) -> None:
        """Add to the mirror's overview what this process has copied, for kept ls."""
        if self._target is not None and self._replaced is None:
            note_in_time(self._target.logs)

    def _is_confirmed(self, artifact: str, head: int) -> bool:
        receipt = self._receipts.receipt(artifact)
        return receipt is not None and receipt.record == head

    def _is_filled(self, artifact: str) -> bool:
        """Return whether the user has filled a replaced mirror since; open it again then.

        kept sync confirms what it copies, and the receipt had been revoked. So this asks only the
        own store.
        """
        receipt = self._receipts.receipt(artifact)
        if receipt is None or not receipt.record:
            return False
        self._target, self._replaced = None, None
        self._syncs.clear()
        show(f"the mirror {self.location} was filled again; sending continues")
        self.courier.wake(*self._receipts.artifacts())
        return True

    def _copy(self, what: str) -> None:
        if self._target is None:
            target = Store(self._bucket)
            self._check_id(what, target)
            self._target = target
            if not target.exists:
                self._notice_loss()
            self._protections.clear()
        for note in carry_protections(self._store, self._target, self._protections):
            show(note)
        sync = self._syncs.setdefault(what, Sync(self._store, self._target, what))
        copied = sync.run(self._receipts, self.courier.count)
        for note in copied.notes:
            show(f"{what}: {note}")

    def _check_id(self, artifact: str, target: Store) -> None:
        """Raise StoreReplaced if a mirror is another store than the one that has confirmed."""
        receipt = self._receipts.receipt(artifact)
        before = receipt.mirror.store_id if receipt and receipt.mirror else ""
        found = known_id(target.logs.marker)
        if before and found and before != found:
            raise StoreReplaced(
                f"{self.location} holds another store than before: expected the id {before}, found "
                f"{found}."
            )

    def _notice_loss(self) -> None:
        """Revoke what a mirror has confirmed that no longer exists, and have it copied again."""
        found = filter(None, map(self._receipts.receipt, self._receipts.artifacts()))
        lost = [receipt.artifact for receipt in found if receipt.record]
        if lost:
            self._receipts.revoke()
            show(f"the mirror {self.location} was emptied since the last run; it is filled again")
            self.courier.wake(*lost)


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
        for mirror in self._all:
            mirror.note()


def _listed(where: Where | Iterable[Where] | None) -> list[Where]:
    if where is None:
        return []
    if isinstance(where, (str, os.PathLike, Store)):
        return [where]
    if not isinstance(where, Iterable):
        raise InvalidInput(
            f"mirror is a Store, a location, or a list of these. Received: mirror={where!r}"
        )
    return list(where)
