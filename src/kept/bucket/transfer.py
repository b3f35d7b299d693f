"""How far a transfer is."""

from __future__ import annotations

import threading
from collections.abc import Callable

Progress = Callable[[int, int], None]  # done, of how many


class Transfer:
    """Counts the bytes that several threads move, and tells a function, one call at a time.

    What turns out not to have to be moved lowers how many there are, so that what is done over the
    time is the speed of the line.
    """

    def __init__(self, size: int, progress: Progress | None, *, in_parts: bool = False) -> None:
        """Take how many bytes there are at most.

        in_parts is set where somebody watches: a bucket may then move a large value in parts, with
        a request for each, to tell more often.
        """
        self.in_parts = in_parts and progress is not None
        self._size, self._progress = size, progress
        self._lock, self._done = threading.Lock(), 0

    def moved(self, count: int) -> None:
        """Tell of bytes that have been moved."""
        self._tell(count, 0)

    def spared(self, count: int) -> None:
        """Tell of bytes that are there already."""
        self._tell(0, count)

    def _tell(self, moved: int, spared: int) -> None:
        with self._lock:
            self._done += moved
            self._size -= spared
            if self._progress:  # what is stored has headers, so it can be a little more
                self._progress(self._done, max(self._size, self._done))


def watched(progress: Progress | None) -> Callable[[int], Transfer] | None:
    """Return what makes the transfer, of so many bytes, that somebody watches, if anybody does."""
    return (lambda size: Transfer(size, progress, in_parts=True)) if progress else None
