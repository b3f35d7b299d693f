"""What every checkpoint callback of kept has, on Keras 3 and on tf_keras: hooks and attributes.

CheckpointHooks stands before Keras's ModelCheckpoint among the bases of a callback, so its hooks
come first and none of Keras's that save is called. The constructor of the callback sets
checkpointing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.training.destinations.open import destination_of
from kept.training.keras_api.adapter import check_model
from kept.training.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kept.store.store import Store
    from kept.store.version import Version
    from kept.training.decide.controller import Controller
    from kept.training.destinations.base import Destination
    from kept.training.save.saver import Saver

    Logs = Mapping[str, Any]


class CheckpointHooks:
    """Hands the hooks of a fit to a Controller."""

    options_type: type[Options] = Options
    _checkpointing: Controller

    def _destination(self, options: Any, committed: Callable[[Version], None]) -> Destination:
        """Return where the checkpoints go; committed is told each version."""
        return destination_of(options, committed)

    @property
    def name(self) -> str | None:
        """The artifact's name; None before the first fit if it was not given."""
        return self._checkpointing.name.value

    @property
    def store(self) -> Store | None:
        """The store that the versions go to; None if they go to W&B alone."""
        return self._checkpointing.destination.store

    @property
    def versions(self) -> list[Version]:
        """The versions committed by this callback, oldest first.

        In object storage a checkpoint becomes one when it has arrived there.
        """
        return list(self._checkpointing.versions)

    @property
    def skipped(self) -> int:
        """How many checkpoints on_busy="skip" has skipped."""
        return self._saver.skipped

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every checkpoint so far is durable, at most timeout seconds.

        Returns whether they are; raises SaveFailed if one could not be saved.
        """
        return self._saver.wait(timeout)

    def close(self) -> None:
        """Wait as wait does, and let go of the memory of the snapshots."""
        self._checkpointing.close()

    def set_model(self, model: Any) -> None:
        """Take the model that is trained; raises InvalidCheckpoint for one of another Keras."""
        check_model(self._checkpointing.edition, self, model)
        super().set_model(model)  # type: ignore[misc]  # Keras's, the next base

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Settle the artifact's name, and find out now whether the store can be written."""
        super().on_train_begin(logs)  # type: ignore[misc]
        self._checkpointing.train_begin()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch, for saves after batches."""
        super().on_epoch_begin(epoch, logs)  # type: ignore[misc]  # Keras's, the next base
        self._checkpointing.epoch_begin(epoch)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save if enough batches have passed since the last save."""
        self._checkpointing.batch_end(batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save with save_freq="epoch"."""
        self._checkpointing.epoch_end(epoch, logs or {})

    def on_train_end(self, logs: Logs | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Wait until every checkpoint is durable, and a while for mirrors that answer."""
        self._checkpointing.train_end()

    def get_state(self) -> dict[str, Any]:
        """Return what a resumed run needs to know of this callback."""
        return self._checkpointing.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what get_state returned."""
        self._checkpointing.set_state(state)

    @property
    def _saver(self) -> Saver:
        return self._checkpointing.saver
