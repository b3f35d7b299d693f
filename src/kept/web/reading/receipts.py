"""The receipts of mirrors, read again only if a listing says that they have changed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from kept.names import is_name
from kept.store.receipts import Receipt, receipts_at

if TYPE_CHECKING:
    from kept.bucket.base import Bucket, Item

_SECONDS = 10.0  # between looks at object storage
_MOST_READ = 32  # receipts that such a look requests


class MirrorReceipts:
    """The receipts of a store. Many threads may use it at once."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: dict[str, tuple[Item, Receipt]] = {}  # by key
        self._looked = -_SECONDS
        self._lock = threading.Lock()

    def all(self) -> list[Receipt]:
        """Return the receipts, by key; in object storage, those that are known so far."""
        with self._lock:
            is_far = self._bucket.is_remote
            if not is_far or time.monotonic() - self._looked >= _SECONDS:
                self._look(_MOST_READ if is_far else None)
                self._looked = time.monotonic()
            return [receipt for _, receipt in self._known.values()]

    def _look(self, most: int | None) -> None:
        items = {item.key: item for item in self._bucket.items("outbox/") if _is_receipt(item.key)}
        before = self._known
        stale = [key for key, item in items.items() if key not in before or before[key][0] != item]
        stale = stale[:most]
        read = {
            key: (items[key], receipt)
            for key in stale
            for receipt in receipts_at(self._bucket, [key])
        }
        now = {key: before[key] for key in items if key in before and key not in stale} | read
        self._known = dict(sorted(now.items()))


def _is_receipt(key: str) -> bool:
    match key.split("/"):
        case [_, _, file]:
            return file.endswith(".json") and is_name(file.removesuffix(".json"))
    return False
