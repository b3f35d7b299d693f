"""Choosing where a callback's checkpoints go, by its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.store.open import open_bucket
from kept.store.store import Store
from kept.training.destinations.store import StoreDestination

if TYPE_CHECKING:
    from kept.sync.outbox.deliver import Arrivals
    from kept.training.destinations.base import Destination
    from kept.training.options import Options


def open_destination(options: Options, arrivals: Arrivals) -> Destination:
    """Return the destination that the options name.

    arrivals gets each version that reaches a store in object storage. Raises NotAStore,
    NewerFormat, RemoteError or InvalidInput.
    """
    given = options.store
    bucket = given.bucket if isinstance(given, Store) else open_bucket(given)
    if bucket.is_remote:
        from kept.training.destinations.remote_store import RemoteDestination

        return RemoteDestination(given if isinstance(given, Store) else bucket, options, arrivals)
    return StoreDestination(options)
