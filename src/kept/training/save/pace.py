"""How fast saves follow each other, and how long one takes to write."""

from __future__ import annotations

import time

_SPEED = 300e6  # bytes per second; a guess until the first save is written


class SavePace:
    """Measures saves, to foresee whether two overlap."""

    def __init__(self) -> None:
        self._began = 0.0  # time.perf_counter() at the save before, or when the fit began
        self._between = 0.0  # seconds from there to the newest save
        self._took: float | None = None  # seconds from a save's hook until it was written

    def begin(self) -> None:
        """Note that a fit begins."""
        self._began = time.perf_counter()

    def save_begins(self, started: float) -> None:
        """Note a save, and time.perf_counter() when its hook began."""
        self._between, self._began = started - self._began, started

    def save_ended(self, started: float) -> None:
        """Note that the save whose hook began at started is written."""
        self._took = time.perf_counter() - started

    def may_overlap(self, size: int) -> bool:
        """Return whether the next save may come before one of size bytes is written."""
        if self._took is not None:
            return 2 * self._took > self._between
        guess = size / _SPEED
        # If saves wait for the writer thread in any case, it has better work than to touch memory.
        return guess / 2 < self._between < 2 * guess
