"""What kept asks of a Keras: Keras 3, or tf_keras (Keras 2).

Everything that differs between the two for a checkpoint is one of the two classes behind
KerasAdapter: Keras3 in keras3.py and TfKeras in tf_keras.py. Neither imports the other Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from kept.errors import InvalidCheckpoint

if TYPE_CHECKING:
    from kept.training.keras_api.formats import Format


class KerasAdapter(Protocol):
    """One Keras."""

    package: str  # as it is imported
    saves_unmeasured: bool  # whether its save_best_only saves a checkpoint without the metric
    cannot_snapshot: str | None  # why a model cannot be saved while training continues

    @property
    def framework(self) -> str:
        """The name of the framework: tensorflow, jax or torch."""

    @property
    def version(self) -> str:
        """The version of Keras."""

    def owns(self, model: Any) -> bool:
        """Return whether the model is one of this Keras."""

    def direction(self, callback: Any) -> str | None:
        """Return "min" or "max" as this Keras decides for mode="auto"; None if it cannot."""

    def write(self, model: Any, path: str, format: Format, options: Any) -> None:
        """Save the live model to path; options is what the format takes, or None."""

    def step(self, model: Any) -> int | None:
        """Return how many steps the optimizer has made, or None without an optimizer."""


def check_model(adapter: KerasAdapter, callback: Any, model: Any) -> None:
    """Raise InvalidCheckpoint for a model of the other Keras."""
    if not adapter.owns(model):
        other = "tf_keras" if adapter.package == "keras" else "keras"
        raise InvalidCheckpoint(
            f"This callback is one of {adapter.package}, and the model is not. Use "
            f"kept.{other}.{type(callback).__name__}, or import {other} before the callback is "
            f"used first. Received: {type(model).__module__}.{type(model).__name__}"
        )
