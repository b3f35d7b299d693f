"""The callbacks and the data of the running fit.

kept needs both. All callbacks with a state belong to the state of a run, and the data decides
whether its position can be found again. If kept finds neither (another Keras, a loop that the
user wrote), it uses what it was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kept.training.keras_api.callers import find_fit


@dataclass(frozen=True, slots=True)
class Fit:
    """A running fit."""

    callbacks: tuple[Any, ...] = ()  # in the order of their calls; empty if not known
    epochs: Any = None  # Keras's iterator over the batches of an epoch; None if not known

    @property
    def adapter(self) -> Any:
        """Keras's adapter of the training data; None if not known."""
        return getattr(self.epochs, "data_adapter", None)

    @property
    def kind(self) -> str:
        """The class name of the adapter, which is the kind of the data."""
        return type(self.adapter).__name__

    @property
    def steps_per_epoch(self) -> int | None:
        """The argument of fit."""
        given: int | None = getattr(self.epochs, "steps_per_epoch", None)
        return given

    @property
    def batches(self) -> int | None:
        """The batches of an epoch; None if Keras learns the number in the first epoch."""
        number: int | None = getattr(self.epochs, "num_batches", None)
        return number


def running_fit() -> Fit:
    """Return the fit that calls a hook of the caller, as far as kept can see it."""
    return Fit(*find_fit())
