"""Where a watcher sends its events: the contract of every target."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from kept.watch.events import Happening

_SLICE = 0.1  # seconds; a signal handler may not wake a lock


class Result(Enum):
    """What became of an attempt to send an event."""

    SENT = "sent"
    FAILED = "failed"  # another attempt may succeed
    REFUSED = "refused"  # no attempt will
    STOPPED = "stopped"  # the watcher ends


class Outcome(NamedTuple):
    """The result of an attempt, and what a message says about it."""

    result: Result
    what: str = ""
    after: float | None = None  # seconds that the target asks to wait


class Target(Protocol):
    """Takes the events of a watcher, one at a time."""

    kind: str  # of the default name of a watcher
    attempts: int | None  # after which an event is given up; None for never

    def send(self, happening: Happening, *, again: bool) -> Outcome:
        """Send an event. Mark it with again: then it may have arrived before."""


class Stop:
    """Whether the watcher has to end; a signal handler may set it at any moment."""

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        """End as soon as possible."""
        self.is_set = True

    def wait(self, seconds: float) -> None:
        """Wait for some seconds, or until the watcher has to end."""
        end = time.monotonic() + seconds
        while not self.is_set and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))
