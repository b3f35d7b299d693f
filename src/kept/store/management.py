"""What a store offers after the save: promotion, history, search, and whole artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kept.bucket.base import Bucket
    from kept.store.log.log import Logs


class Management:
    """The part of a Store that ranks, promotes, searches, renames and removes."""

    bucket: Bucket
    logs: Logs
