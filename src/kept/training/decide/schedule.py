"""Which batches and epochs of a fit end with a save, by save_freq and save_every."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kept.training.decide.moment import Moment


class SaveSchedule:
    """Counts the batches and epochs of a fit.

    It reads save_freq (and period, of tf_keras) of the callback at each hook, because users may set
    them after construction, as with Keras's callback.
    """

    def __init__(self, callback: Any, seconds: float) -> None:
        """Take the callback, and the seconds between two saves by the clock."""
        self._callback = callback
        self._seconds, self._last = seconds, 0.0  # between two saves by the clock; infinity: never
        self.epoch = 0
        self.batch = -1  # the last one that ended in this epoch
        self.batches_since_save = 0
        self._last_saved: tuple[int, int | None] | None = None  # its epoch and batch

    def begin_fit(self) -> None:
        """Start the clock; for on_train_begin."""
        self.batch, self._last_saved = -1, None
        self._last = time.monotonic()

    def begin_epoch(self, epoch: int) -> None:
        """Note the epoch; for on_epoch_begin."""
        self.epoch, self.batch = epoch, -1

    def skip_batch(self, batch: int) -> None:
        """Note a batch that a resumed fit reads and does not train on."""
        self.batch = batch

    def end_batch(self, batch: int) -> bool:
        """Count a batch; return whether save_freq asks for a save."""
        # With steps_per_execution=n Keras calls the hook for every n-th batch only.
        self.batches_since_save += batch - self.batch
        self.batch = batch
        save_freq = self._callback.save_freq
        if save_freq == "epoch" or self.batches_since_save < save_freq:
            return False
        self.batches_since_save = 0
        return True

    @property
    def batches_left(self) -> float:
        """How many batches the next save by save_freq is away; infinity with "epoch"."""
        save_freq = self._callback.save_freq
        return math.inf if save_freq == "epoch" else save_freq - self.batches_since_save

    def end_epoch(self) -> bool:
        """Count an epoch; return whether save_freq="epoch" asks for a save.

        The count is an attribute of tf_keras's callback, which users read and set.
        """
        callback = self._callback
        callback.epochs_since_last_save = getattr(callback, "epochs_since_last_save", 0) + 1
        is_over = callback.epochs_since_last_save >= getattr(callback, "period", 1)
        if callback.save_freq != "epoch" or not is_over:
            return False
        callback.epochs_since_last_save = 0
        return True

    def is_time(self) -> bool:
        """Return whether save_every asks for a save."""
        return time.monotonic() - self._last >= self._seconds

    def save_begins(self) -> None:
        """Start the clock again, because a save begins."""
        self._last = time.monotonic()

    def saved(self, moment: Moment) -> None:
        """Note that a checkpoint of this moment is saved or on its way."""
        self._last_saved = (moment.epoch, moment.batch)

    def is_saved(self, moment: Moment) -> bool:
        """Return whether a checkpoint of this moment is saved or on its way."""
        return self._last_saved == (moment.epoch, moment.batch)
