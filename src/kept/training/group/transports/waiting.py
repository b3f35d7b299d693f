"""What the transports over a framework's own key-value store share: waits, and errors.

The frameworks wait in C++, where neither Ctrl-C nor SIGTERM reaches Python. So a long wait is a
loop of short ones. All errors of a store become a GroupError.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from kept.errors import GroupError

_SLICE = 0.5  # seconds of one wait: so long does a signal wait for its handler


class StoreTransport(ABC):
    """A Transport over the key-value store of a framework; a subclass for each framework."""

    label: str
    failures: tuple[type[Exception], ...] = (RuntimeError,)  # what the store raises

    def __init__(self, rank: int, size: int) -> None:
        """Take the number of this process, and how many there are."""
        self.rank, self.size = rank, size

    def set(self, key: str, value: bytes) -> None:
        """Set a key. Raises GroupError."""
        try:
            self._set(key, value)
        except self.failures as error:
            raise self._unreachable(error) from error

    def get(self, key: str, seconds: float) -> bytes:
        """Return the value of a key; wait for up to some seconds.

        Raises TimeoutError, and GroupError if the store is gone.
        """
        end = time.monotonic() + seconds
        while True:
            left = max(end - time.monotonic(), 0.0)
            try:
                value = self._wait(key, min(left, _SLICE))
            except self.failures as error:
                raise self._unreachable(error) from error
            if value is not None:
                return value
            if left <= _SLICE:
                raise TimeoutError(f"No value of {key} in {self.label} after {seconds:g} s")

    def delete(self, key: str) -> None:
        """Delete a key; a missing one is fine. Raises GroupError."""
        try:
            self._delete(key)
        except self.failures as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> GroupError:
        reason = str(error).partition("\n")[0] or type(error).__name__
        return GroupError(
            f"Cannot reach the other processes of this run by {self.label}: {reason}. Look at the "
            "output of the first process; it may have ended"
        )

    @abstractmethod
    def _set(self, key: str, value: bytes) -> None:
        """Set a key."""

    @abstractmethod
    def _wait(self, key: str, seconds: float) -> bytes | None:
        """Return the value of a key, None if it is not set in time."""

    @abstractmethod
    def _delete(self, key: str) -> None:
        """Delete a key; a missing one is fine."""
