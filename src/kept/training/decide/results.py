"""The saves of a callback: to the saver, and their results back to the training thread.

Each hook of the training thread that may do so first raises what failed in the background, then
settles the results since the last hook.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from kept.messages import print_text, show
from kept.training.decide.report import save_ended
from kept.training.health.report import HealthReport
from kept.training.save.failure_policy import FailurePolicy
from kept.training.save.saver import Saver
from kept.training.save.write_checkpoint import CheckpointWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.decide.best import BestTracker
    from kept.training.decide.parts import Parts
    from kept.training.request import SaveRequest, SaveResult


class Saves:
    """Saves the requests of a controller, and hands results to upkeep, messages and best."""

    def __init__(self, owner: Any, parts: Parts, best: BestTracker) -> None:
        self._owner, self._parts = owner, parts
        checkpoints = CheckpointWriter(parts.destination, parts.path, parts.upkeep, parts.options)
        framework, background = parts.adapter.framework, parts.saves_snapshots
        self.saver = Saver(checkpoints, framework, self, background=background)
        self.failures = FailurePolicy(self.saver.writer, parts.options.on_error)
        self.health = HealthReport(parts.options.on_health)
        self.results = SaveResults(best, self.health)

    def begin(self) -> None:
        """Settle and report what the fit before left."""
        self.results.settle()
        self.health.begin()
        self.failures.begin()

    def saved(self, result: SaveResult) -> None:
        """Take the result of a save, on the thread that wrote it."""
        try:
            self._parts.upkeep.saved(result)
        finally:
            self.results.add(result)

    def save(self, request: SaveRequest, *, wait: bool) -> bool:
        """Save a checkpoint; return False if it was dropped. Raises SaveFailed."""
        try:
            with self.failures.applied():
                return self.saver.save(request, wait=wait)
        finally:
            self.results.settle()
        return True

    def finish(self) -> None:
        """Wait until every checkpoint is durable; raises SaveFailed."""
        with self.failures.applied():
            self.saver.finish()

    def report(self) -> bool:
        """Raise what failed in the background; show the messages that wait.

        Returns whether the fit must end because of an unhealthy version.
        """
        self.results.settle()
        self.failures.report()
        for message in self.results.messages():
            self.show(message)
        for message in self.health.messages():
            show(message)
        return self.health.take_stop()

    def show(self, text: str) -> None:
        """Print a message, unless the callback is silent."""
        if self._owner.verbose > 0:
            print_text(f"\n{text}")

    def wait(self, timeout: float | None) -> bool:
        """Wait until every checkpoint is durable; return whether they are. Raises SaveFailed."""
        try:
            return self.saver.writer.wait(timeout)
        finally:
            self.results.settle()

    def close(self) -> None:
        """Wait until every checkpoint is durable, and free the memory of the snapshots."""
        try:
            self.saver.close()
        finally:
            self.results.settle()
            self._parts.upkeep.close()


class SaveResults:
    """Takes results on any thread; the training thread settles them in its next hook."""

    def __init__(self, best: BestTracker, health: HealthReport) -> None:
        self._best, self._health = best, health
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
        self._health.settle(result)
        self.dropped += result.dropped
        self.newest_name = result.name or self.newest_name
        if message := save_ended(result):
            self._messages.append(message)
