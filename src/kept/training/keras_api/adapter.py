"""The two editions of Keras that a callback can work with: Keras 3 and tf_keras (Keras 2).

Everything that differs between them for a checkpoint is one of the two classes behind KerasAdapter:
training/keras3.py and training/legacy.py. Neither imports the other Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from kept.errors import InvalidCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kept.store.store import Store
    from kept.training.keras_api.formats import Format
    from kept.training.options import Options
    from kept.training.resume.state import State

    Logs = Mapping[str, Any]


class Resuming(Protocol):
    """Takes the state of a run, and goes on from one; resumer.py has the contracts."""

    parent: dict[str, str] | None

    def prepare(self, store: Store, reference: str) -> None: ...
    def begin(self) -> None: ...
    def epoch_begin(self, epoch: int) -> None: ...
    def passes(self, batch: int) -> bool: ...
    def epoch_end(self) -> None: ...
    def end(self) -> None: ...
    def capture(self, epoch: int, batch: int | None, logs: Logs) -> State | None: ...


class KerasAdapter(Protocol):
    """What kept asks of a Keras."""

    package: str  # as it is imported
    cannot_snapshot: str | None  # why a model cannot be saved while training goes on

    @property
    def framework(self) -> str:
        """The name of the framework: tensorflow, jax or torch."""

    @property
    def version(self) -> str:
        """The version of Keras."""

    def owns(self, model: Any) -> bool:
        """Return whether the model is one of this Keras."""

    def direction(self, callback: Any) -> str | None:
        """Return "min" or "max" as this Keras tells for mode="auto"; None if it cannot tell."""

    def write(self, model: Any, path: str, format: Format, options: Any) -> None:
        """Save the live model to path; options is what the format takes, or None."""

    def step(self, model: Any) -> int | None:
        """Return how many steps the optimizer has made, None without an optimizer."""

    def resuming(
        self, owner: Any, options: Options, tell: Callable[[str], None], *, named: bool
    ) -> Resuming:
        """Return what resumes the owner's fits; raises InvalidCheckpoint."""


def check_model(edition: KerasAdapter, callback: Any, model: Any) -> None:
    """Raise InvalidCheckpoint for a model of the other Keras."""
    if not edition.owns(model):
        other = "tf_keras" if edition.package == "keras" else "keras"
        raise InvalidCheckpoint(
            f"This callback is one of {edition.package}, and the model is not. Use "
            f"kept.{other}.{type(callback).__name__}, or import {other} before the callback is "
            f"used first. Received: {type(model).__module__}.{type(model).__name__}"
        )
