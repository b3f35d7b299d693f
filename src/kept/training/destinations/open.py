"""Choosing where a callback's checkpoints go, by its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.store.open import open_bucket
from kept.store.store import Store
from kept.training.destinations.store import StoreDestination

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.store.version import Version
    from kept.training.destinations.base import Destination
    from kept.training.options import Options


def destination_of(options: Options, committed: Callable[[Version], None]) -> Destination:
    """Return where the options say that checkpoints go; committed is told each version.

    Raises NotAStore, NewerFormat, RemoteError or InvalidInput.
    """
    given = options.store
    bucket = given.bucket if isinstance(given, Store) else open_bucket(given)
    if bucket.is_remote:
        from kept.training.destinations.remote_store import RemoteDestination

        return RemoteDestination(given if isinstance(given, Store) else bucket, options, committed)
    return StoreDestination(options, committed)
