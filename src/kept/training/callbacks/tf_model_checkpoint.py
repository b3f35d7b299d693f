"""The checkpoint callback for tf_keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tf_keras

from kept.errors import InvalidCheckpoint
from kept.training.callbacks.hooks import CheckpointHooks
from kept.training.callbacks.signature import check_options, documented
from kept.training.keras_api.tf_keras import TfKeras, split_legacy
from kept.training.options import check_save_freq
from kept.training.resume.base import NoResuming
from kept.training.save.path_template import PathTemplate

if TYPE_CHECKING:
    import os

    from kept.training.options import Options
    from kept.training.resume.base import Resuming

_UNSET = "unset.h5"  # with filepath=None; the attribute is checked by the first hook


@documented
class ModelCheckpoint(CheckpointHooks, tf_keras.callbacks.ModelCheckpoint):  # type: ignore[misc]  # untyped
    """kept.ModelCheckpoint for tf_keras, with the arguments of tf_keras's ModelCheckpoint.

    It works as kept.ModelCheckpoint does on Keras 3, with two exceptions. The training thread
    writes the file, because tf_keras cannot save a model from a snapshot. And versions hold no
    state, so resume and state_of are refused.

    Args:
        filepath: Where to save, with format options such as {epoch:02d} and {val_loss:.2f}; epoch
            and batch count from 1 there, as in Keras. It ends in .keras or .h5, or in .weights.h5
            with save_weights_only=True. Without an ending it is a SavedModel, or a TensorFlow
            checkpoint of the weights. None means that the attribute filepath is set before fit.
        monitor: Name of the metric that decides which checkpoint is the best.
        verbose: 0 is silent, 1 prints a line for every checkpoint.
        save_best_only: Save only checkpoints that are better by the metric than all before.
        save_weights_only: Save the weights, not the whole model.
        mode: "min", "max" or "auto". As in tf_keras, "auto" means "max" for names that contain
            "acc" or begin with "fmeasure", and "min" for all others.
        save_freq: "epoch", or a number of batches.
        options: As in tf_keras.
        initial_value_threshold: The value that the metric must beat to be the first best.
        period: The number of epochs between two saves, with save_freq="epoch".
        load_weights_on_restart: Load the newest file at filepath when fit begins.
        {options}

    Raises:
        InvalidCheckpoint: An argument cannot work; the message names it and the reason.
        NotAStore, NewerFormat: The location cannot be used as a store.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - Keras's signature
        self,
        filepath: str | os.PathLike[str] | None,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,  # noqa: FBT001, FBT002
        save_weights_only: bool = False,  # noqa: FBT001, FBT002
        mode: str = "auto",
        save_freq: str | int = "epoch",
        options: Any = None,
        initial_value_threshold: float | None = None,
        **more: Any,
    ) -> None:
        legacy, own = split_legacy(more)
        checked = check_options(self, own, self.options_type)
        save_freq = check_save_freq(save_freq)
        adapter = TfKeras()
        path = PathTemplate(
            _UNSET if filepath is None else filepath,
            adapter,
            options,
            weights_only=save_weights_only,
            has_batch=save_freq != "epoch",
        )
        super().__init__(
            filepath=path.given,
            monitor=monitor,
            verbose=verbose,
            save_best_only=save_best_only,
            save_weights_only=save_weights_only,
            mode=mode,
            save_freq=save_freq,
            initial_value_threshold=initial_value_threshold,
            **legacy,
        )
        self.filepath = None if filepath is None else path.given
        self.mode, self.params = mode, None  # tf_keras has no params until it is called by a fit
        self._set_up(adapter, path, checked)

    def _make_resuming(self, options: Options, *, is_named: bool) -> Resuming:  # noqa: ARG002
        for name in ("resume", "state_of"):
            if (value := getattr(options, name)) not in (None, False):
                raise InvalidCheckpoint(
                    "kept resumes runs on Keras 3 only. With tf_keras, load a version into the "
                    "model with store.version(…).load_weights(model) before fit, and pass "
                    f"initial_epoch. Received: {name}={value!r}"
                )
        return NoResuming()

    def _implements_train_batch_hooks(self) -> bool:
        return True  # for saves by the clock and at SIGTERM
