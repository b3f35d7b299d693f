"""Remembers which locations do not answer, so that not every request waits for its time limit."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0  # seconds without requests after a time-out
_breakers: dict[str, Breaker] = {}
_lock = threading.Lock()


class Silence(NamedTuple):
    """That a location has answered no request for some time, although some are under way."""

    location: str
    seconds: float
    uploaded: int  # bytes of the large uploads under way


class Breaker:
    """Refuses requests to one location for a while after a time-out. For many threads.

    It does not count a time-out during which the location has answered another request.
    """

    def __init__(self, location: str, refused: str = "request") -> None:
        """Take a location, and what the breaker refuses, for messages."""
        self._location, self._refused = location, refused
        self._answered = self._closed_until = float("-inf")
        self._pause = _FIRST_PAUSE
        # Requests under way, by thread: when they have begun, and the bytes of a large upload.
        self._asked: dict[int, tuple[float, int]] = {}

    def check(self) -> None:
        """Raise Unreachable if the location is not to be asked yet."""
        left = self._closed_until - time.monotonic()
        if left > 0:
            raise Unreachable(
                f"{self._location}: the server did not answer in time, so kept sends no "
                f"{self._refused} for {left:.0f} more seconds. Check the network and the endpoint"
            )

    @contextlib.contextmanager
    def asking(self, upload: int = 0) -> Iterator[float]:
        """Count a request as being under way; yields when it has begun.

        Pass the size of a large upload.
        """
        thread = threading.get_ident()
        begun = time.monotonic()
        self._asked[thread] = begun, upload
        try:
            yield begun
        finally:
            self._asked.pop(thread, None)

    @property
    def silence(self) -> Silence:
        """For how long the location has answered no request, although one is under way."""
        asked = list(self._asked.values())
        begun = min((begun for begun, _ in asked), default=float("inf"))
        seconds = time.monotonic() - max(begun, self._answered)
        return Silence(self._location, seconds, sum(upload for _, upload in asked))

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


def silent_for(seconds: float) -> list[Silence]:
    """Return the locations that a request has waited for without any answer for so long."""
    with _lock:
        found = [breaker.silence for breaker in _breakers.values()]
    return [silence for silence in found if silence.seconds >= seconds]
