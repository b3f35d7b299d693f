"""Replaying batches: reading them again from the data, without training on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.errors import CannotResume

if TYPE_CHECKING:
    from collections.abc import Iterator


class BatchReplay:
    """Stands in for model.train_function until a number of batches was replayed.

    The model trains on the last of them after all, because TensorFlow builds metrics in the first
    step only. The caller replaces the result with the saved state.
    """

    def __init__(self, model: keras.Model, batches: int, logs: dict[str, Any]) -> None:
        """Prepare the replay; logs are those of the last of the batches in the saved run."""
        self._model = model
        self._left = batches
        self._logs = logs
        self._train = model.train_function
        self._fit = model.history.params  # a new dict in each fit
        self._is_jax = keras.backend.backend() == "jax"

    def __call__(self, *args: Any) -> Any:
        """Take the arguments of train_function; return what that returns."""
        if self._model.history.params is not self._fit:  # an exception ended the fit before
            self.stop()
            return self._train(*args)
        try:
            return self._replay(args)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Restore model.train_function."""
        self._model.train_function = self._train

    def _replay(self, args: tuple[Any, ...]) -> Any:
        self._left -= self._model.steps_per_execution
        if self._left <= 0:
            self.stop()
            result = self._train(*args)
            return (self._logs, result[1]) if self._is_jax else self._logs
        if not isinstance(args[-1], list):  # torch passes the batches instead of an iterator
            read(args[-1], self._model.steps_per_execution)
        return ({}, args[0]) if self._is_jax else {}


def read(iterator: Iterator[Any], batches: int) -> None:
    """Read up to a number of batches; raises CannotResume if the iterator has none."""
    if next(iterator, None) is None:
        raise too_few_batches()
    for _ in range(batches - 1):
        next(iterator, None)


def too_few_batches() -> CannotResume:
    """Return the error for data that ends before the saved position."""
    return CannotResume(
        "The data has fewer batches than were done when the version was saved. Give fit the data "
        "and the batch size of the saved run, or resume from a version of the end of an epoch"
    )
