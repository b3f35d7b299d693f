"""A running fit without Keras: what kept reads of the iterator over batches and of its adapter."""

from __future__ import annotations

from kept.training.data.running_fit import Fit


class Epochs:
    """Keras's iterator over the batches of an epoch."""

    def __init__(self, adapter=None, *, rows=(), steps_per_epoch=None, num_batches=None):
        self.data_adapter = adapter
        self.steps_per_epoch = steps_per_epoch
        self.num_batches = self._num_batches = num_batches
        self.rows = rows
        self.started = 0  # how often the data was started
        self._current_iterator = None
        self._steps_seen = 0

    def _get_iterator(self):
        self.started += 1
        return list(self.rows)


def fit_of(kind, *, epochs=None, **attributes):
    """A fit whose adapter has a class of that name, and some attributes."""
    attributes = {"num_batches": None, **attributes}
    adapter = type(kind, (), attributes)()
    options = epochs or {}
    return Fit((), Epochs(adapter, **options))
