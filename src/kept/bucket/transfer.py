"""Counts how far a transfer is."""

from __future__ import annotations

import threading
from collections.abc import Callable

Progress = Callable[[int, int], None]  # done, total


class Transfer:
    """Counts the bytes that several threads move, and reports them, one call at a time.

    Bytes that need not be moved lower the total, so that done / time is the speed of the line.
    """

    def __init__(self, size: int, progress: Progress | None, *, in_parts: bool = False) -> None:
        """Start at 0 of up to size bytes.

        Pass in_parts if a person watches. A bucket may then move a large value in parts, with a
        request for each, to report more often.
        """
        self.in_parts = in_parts and progress is not None
        self._size, self._progress = size, progress
        self._lock, self._done = threading.Lock(), 0

    def moved(self, count: int) -> None:
        """Count bytes that have been moved."""
        self._report(count, 0)

    def spared(self, count: int) -> None:
        """Take bytes that the destination has already off the total."""
        self._report(0, count)

    @property
    def position(self) -> tuple[int, int]:
        """The bytes done and in all, for rewind."""
        with self._lock:
            return self._done, self._size

    def rewind(self, position: tuple[int, int]) -> None:
        """Return to a position, to count the same bytes again: for a second attempt."""
        with self._lock:
            self._done, self._size = position

    def _report(self, moved: int, spared: int) -> None:
        with self._lock:
            self._done += moved
            self._size -= spared
            if self._progress:  # stored bytes include headers, so they can be a little more
                self._progress(self._done, max(self._size, self._done))
