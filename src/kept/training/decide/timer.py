"""save_every: how often, by the clock, a run is saved."""

from __future__ import annotations

import math
import re
import time
from datetime import timedelta

from kept.errors import InvalidCheckpoint

_UNITS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|min|m|h)\s*")


class SaveTimer:
    """Says when the time for a save has come; the clock starts with begin."""

    def __init__(self, every: str | float | timedelta | None) -> None:
        """Take "30s", "10min", "2h", a number of seconds or a timedelta; None is never.

        Raises InvalidCheckpoint.
        """
        self.seconds = _seconds(every)  # infinite for never
        self._last = 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._last = time.monotonic()

    def is_over(self) -> bool:
        """Return whether the time has passed since the clock was started."""
        return time.monotonic() - self._last >= self.seconds


def _seconds(every: str | float | timedelta | None) -> float:
    if every is None:
        return math.inf
    found = _TEXT.fullmatch(every) if isinstance(every, str) else None
    if found:
        every = float(found[1]) * _UNITS[found[2]]
    if isinstance(every, timedelta):
        every = every.total_seconds()
    if isinstance(every, (int, float)) and not isinstance(every, bool) and every > 0:
        return float(every)
    raise InvalidCheckpoint(
        "save_every is a time such as '30s', '10min' or '2h', a number of seconds or a timedelta, "
        f"more than 0. Received: save_every={every!r}"
    )
