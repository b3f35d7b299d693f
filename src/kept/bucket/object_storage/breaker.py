"""Remembers which locations do not answer, so that not every request waits for its time limit."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from kept.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0  # seconds without requests after a time-out
_breakers: dict[str, Breaker] = {}
_lock = threading.Lock()


class Breaker:
    """Refuses requests to one location for a while after a time-out. For many threads.

    It does not count a time-out during which the location has answered another request.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        self._answered = self._closed_until = float("-inf")
        self._pause = _FIRST_PAUSE
        self._asked: dict[int, float] = {}  # requests under way, by thread: when they have begun

    def check(self) -> None:
        """Raise Unreachable if the location is not to be asked yet."""
        left = self._closed_until - time.monotonic()
        if left > 0:
            raise Unreachable(
                f"{self._location}: the server did not answer in time, so kept sends no request "
                f"for {left:.0f} more seconds. Check the network and the endpoint"
            )

    @contextlib.contextmanager
    def asking(self) -> Iterator[float]:
        """Count a request as being under way; yields when it has begun."""
        thread = threading.get_ident()
        self._asked[thread] = begun = time.monotonic()
        try:
            yield begun
        finally:
            self._asked.pop(thread, None)

    @property
    def silence(self) -> float:
        """For how many seconds the location has answered no request, although one is under way."""
        begun = min(list(self._asked.values()), default=float("inf"))
        return time.monotonic() - max(begun, self._answered)

    def answered(self) -> None:
        """Note an answer, of whatever kind."""
        self._answered = time.monotonic()
        self._closed_until, self._pause = float("-inf"), _FIRST_PAUSE

    def timed_out(self, begun: float) -> bool:
        """Note the time-out of a request begun at a time; return whether others got an answer."""
        with _lock:
            if self._answered >= begun:
                return True
            now = time.monotonic()
            if now >= self._closed_until:  # else another request has already timed out
                self._closed_until = now + self._pause
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return False


def breaker_of(location: str) -> Breaker:
    """Return the one breaker of a location in this process."""
    with _lock:
        return _breakers.setdefault(location, Breaker(location))


def silent_for(seconds: float) -> list[str]:
    """Return the locations that a request has waited for without any answer for so long."""
    with _lock:
        return [place for place, breaker in _breakers.items() if breaker.silence >= seconds]
