"""The results of saves, on their way from the writer thread to the training thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from kept.training.decide.report import save_ended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.decide.best import BestTracker
    from kept.training.request import SaveResult


class SaveResults:
    """Takes results on any thread; the training thread settles them in its next hook."""

    def __init__(self, best: BestTracker) -> None:
        self._best = best
        self._open: deque[SaveResult] = deque()  # not settled yet
        self._messages: deque[str] = deque()
        self._settling = threading.Lock()
        self.dropped = 0  # checkpoints, by on_busy="skip"
        self.newest_name = ""  # what the newest saved checkpoint is

    def add(self, result: SaveResult) -> None:
        """Take a result, on the thread that wrote it."""
        self._open.append(result)

    def settle(self) -> None:
        """Confirm or take back best values; the messages wait until they are shown."""
        with self._settling:  # callback.best settles, too, and any thread may read it
            while self._open:
                self._settle(self._open.popleft())

    def messages(self) -> Iterator[str]:
        """Yield each message once."""
        while self._messages:
            yield self._messages.popleft()

    def _settle(self, result: SaveResult) -> None:
        self._best.settle(result)
        self.dropped += result.dropped
        self.newest_name = result.name or self.newest_name
        if message := save_ended(result):
            self._messages.append(message)
