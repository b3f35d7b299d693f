"""A full disk: how kept recognizes it, and what it advises."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kept.sync.outbox.outbox import default_folder

if TYPE_CHECKING:
    from kept.training.destinations.base import Destination


def is_full(error: Exception) -> bool:
    """Return whether a disk is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def advice(error: Exception, destination: Destination) -> str:
    """Return advice about a full disk that fits the destination, or nothing for another error."""
    if not is_full(error):
        return ""
    ways, store = [], destination.store
    if store is not None and not store.bucket.is_remote:
        ways.append(
            "`kept gc --grace 0s` removes the bytes of deleted versions and of failed saves"
        )
    if destination.has_outbox:
        ways.append(f"`kept sync --outbox {default_folder()}` sends, and removes, what waits there")
    return f". Free some space: {'; '.join(ways)}. Checkpoints saved before are safe"
