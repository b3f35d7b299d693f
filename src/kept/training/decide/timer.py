"""The clock of save_every."""

from __future__ import annotations

import time


class SaveTimer:
    """Reports when the time for a save by the clock has passed."""

    def __init__(self, seconds: float) -> None:
        """Take the time between two saves; infinity means never."""
        self._seconds = seconds
        self._last = 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._last = time.monotonic()

    def is_over(self) -> bool:
        """Return whether the time has passed since the clock started."""
        return time.monotonic() - self._last >= self._seconds
