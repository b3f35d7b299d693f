"""A bucket whose reads are counted, so that a check can keep to a limit of bytes per second."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kept.bucket.base import Bucket, Buffer


_CREDIT = 1.0  # seconds of slow reading that later reads may make up for


class MeteredBucket:
    """Passes all calls to a bucket, and counts the bytes that get returns."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        self._read = 0  # bytes since the last pause
        self._free_at = time.monotonic()  # when the bytes before those have had their time

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Buffer:
        """See Bucket.get."""
        value = self._bucket.get(key, start, length)
        with self._lock:
            self._read += len(value)
        return value

    def pause(self, rate: float) -> float:
        """Return the seconds to wait until the reads since the last call keep to a rate.

        The rate is in bytes per second. The caller waits, because it may have to stop meanwhile.
        """
        with self._lock:
            read, self._read = self._read, 0
        now = time.monotonic()
        self._free_at = max(self._free_at, now - _CREDIT) + read / rate
        return max(self._free_at - now, 0.0)
