"""Taking batches from the data without training on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.errors import CannotResume

if TYPE_CHECKING:
    from collections.abc import Iterator


class PassOver:
    """Stands in for model.train_function until a number of batches has been passed over.

    The last of them is trained on after all. So everything is built (TensorFlow builds metrics in
    the first step only) when the state that replaces the outcome is put in.
    """

    def __init__(self, model: keras.Model, batches: int, logs: dict[str, Any]) -> None:
        self._model = model
        self._left = batches
        self._logs = logs  # of the last of the batches when it was done
        self._train = model.train_function
        self._fit = model.history.params  # one dict for each fit
        self._is_jax = keras.backend.backend() == "jax"

    def __call__(self, *args: Any) -> Any:
        """Take what train_function takes; return what it returns."""
        if self._model.history.params is not self._fit:  # left behind by a fit that broke off
            self.stop()
            return self._train(*args)
        try:
            return self._pass(args)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Put the real function back."""
        self._model.train_function = self._train

    def _pass(self, args: tuple[Any, ...]) -> Any:
        self._left -= self._model.steps_per_execution
        if self._left <= 0:
            self.stop()
            outcome = self._train(*args)
            return (self._logs, outcome[1]) if self._is_jax else self._logs
        if not isinstance(args[-1], list):  # torch passes the batches and not an iterator
            take(args[-1], self._model.steps_per_execution)
        return ({}, args[0]) if self._is_jax else {}


def take(iterator: Iterator[Any], batches: int) -> None:
    """Take batches from an iterator; raises CannotResume if there is none at all."""
    if next(iterator, None) is None:
        raise too_few()
    for _ in range(batches - 1):
        next(iterator, None)


def too_few() -> CannotResume:
    """Return the error for data that is at its end before the place is reached."""
    return CannotResume(
        "The data has fewer batches than were done when the version was saved. Give fit the data "
        "and the batch size that the run had, or go on from a version of the end of an epoch"
    )
