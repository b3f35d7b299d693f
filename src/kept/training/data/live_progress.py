"""Shows a running fit to other programs of the user: see kept/sync/live.py.

It reads nothing from a device: the step is counted, and of the logs only Python's numbers are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.sync.live import LiveFile
from kept.training.data.running_fit import when_over

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.store import Store


class LiveProgress:
    """Keeps the file of the fit that an owner is in."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._file = LiveFile()

    def begin(self, store: Store | None, artifact: str, framework: str) -> None:
        """Show the fit; without a store, as with W&B alone, no page would show it."""
        self._file.end()
        if store is None:
            return
        self._file = file = LiveFile()  # a fit that failed may end its file late
        epochs = self._number("epochs")
        file.begin(store.location, artifact, epochs=epochs, framework=framework)
        when_over(file.end)

    def epoch(self, epoch: int) -> None:
        """Show that an epoch begins, counted from 0."""
        self._file.update(is_forced=True, epoch=epoch + 1)

    def batch(self, epoch: int, batch: int, logs: Mapping[str, Any]) -> None:
        """Show that a batch ends, at most once a second."""
        if self._file.is_due:
            self._file.update(epoch=epoch + 1, step=self._step(epoch, batch), metrics=logs)

    def epoch_end(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Show the metrics of an epoch."""
        step = self._step(epoch + 1, -1)
        self._file.update(is_forced=True, epoch=epoch + 1, step=step, metrics=logs)

    def end(self) -> None:
        """Show the fit no longer."""
        self._file.end()

    def _step(self, epoch: int, batch: int) -> int | None:
        steps = self._number("steps")
        return None if steps is None else epoch * steps + batch + 1

    def _number(self, name: str) -> int | None:
        params = getattr(self._owner, "params", None)
        value = params.get(name) if isinstance(params, dict) else None
        return int(value) if isinstance(value, int) and value > 0 else None
