"""What the running fit works with, found by looking at who calls.

Keras tells callbacks neither of each other nor of the data. Both are wanted: all callbacks with a
state belong to the state of a run, and whether the position in the data can be found again
depends on the data. Where nothing is found (another Keras, a loop of one's own) kept does with
what it was given.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@dataclass(frozen=True, slots=True)
class Fit:
    """A running fit."""

    callbacks: tuple[Any, ...] = ()  # in the order in which they are called; empty if not known
    epochs: Any = None  # Keras's iterator over the batches of an epoch; None if not known

    @property
    def adapter(self) -> Any:
        """Keras's adapter of the training data; None if not known."""
        return getattr(self.epochs, "data_adapter", None)

    @property
    def kind(self) -> str:
        """The name of the adapter's class: what kind of data this is."""
        return type(self.adapter).__name__

    @property
    def steps_per_epoch(self) -> int | None:
        """As it was given to fit."""
        given: int | None = getattr(self.epochs, "steps_per_epoch", None)
        return given

    @property
    def batches(self) -> int | None:
        """The batches of an epoch; None where Keras finds out when the first one is over."""
        number: int | None = getattr(self.epochs, "num_batches", None)
        return number


def running_fit() -> Fit:
    """Return the fit that has called, as far as it can be seen."""
    found = epochs = None
    for frame in _callers():
        seen = frame.f_locals
        if found is None and isinstance(seen.get("self"), keras.callbacks.CallbackList):
            found = seen["self"]
        elif found is not None and hasattr(seen.get("epoch_iterator"), "data_adapter"):
            epochs = seen["epoch_iterator"]
            break
    return Fit(tuple(getattr(found, "callbacks", ())), epochs)


def _callers() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back
