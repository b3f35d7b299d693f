"""The checkpoint callback for Keras 3, on TensorFlow, JAX and torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import keras

from kept.training.callbacks.hooks import CheckpointHooks
from kept.training.callbacks.signature import check_options, documented
from kept.training.keras_api.keras3 import Keras3, as_newest_keras
from kept.training.options import CheckpointOptions, check_save_freq
from kept.training.resume.resumer import Resumer, check_resume
from kept.training.save.path_template import PathTemplate

if TYPE_CHECKING:
    import os

    from kept.training.options import Options
    from kept.training.resume.base import Resuming


@documented
class ModelCheckpoint(CheckpointHooks, keras.callbacks.ModelCheckpoint):  # type: ignore[misc]  # Keras is untyped
    """Keras's ModelCheckpoint that keeps every checkpoint and does not stall training.

    Each checkpoint is committed as a version of an artifact. Its aliases are epoch_<n> or
    epoch_<n>_batch_<b>, counted from 0 as W&B counts, and best (by the monitored metric; a NaN is
    never best). Its metadata are epoch, batch, step, monitor, mode, value, metrics, format,
    framework, keras_version, stall_seconds, write_seconds, bytes_new, snapshot_bytes and health
    (docs/health.md). The file at filepath appears complete or not at all. If saves come faster than
    the writer thread can write them, every version is committed, but a file that the next save
    replaces at once may be missing at filepath: never the first or the last one, and never two in a
    row.

    The training thread only copies the state into reused memory. That memory has the size of the
    weights and the optimizer state, and twice that size once saves take more than half of the time
    between them. (On torch, a model with a layer that wraps a torch.nn.Module is saved on the
    training thread.) fit returns when every checkpoint is durable. The next hook, wait or close
    raises an error of the background.

    Args:
        filepath: Where to save, with format options such as {epoch:02d} and {val_loss:.2f}; epoch
            and batch count from 1 there, as in Keras. It ends in .keras or .h5, or in .weights.h5
            with save_weights_only=True. Without an ending it is a SavedModel (on TensorFlow and
            JAX), or a TensorFlow checkpoint of the weights (on TensorFlow); the training thread
            writes these.
        monitor: Name of the metric that decides which checkpoint is the best.
        verbose: 0 is silent, 1 prints a line for every checkpoint.
        save_best_only: Save only checkpoints that are better by the metric than all before.
        save_weights_only: Save the weights with the optimizer's state, not the whole model.
        mode: "min", "max" or "auto" (found from the metric, by the end of the first batch).
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: The value that the metric must beat to be the first best.
        options: A tf.saved_model.SaveOptions for a SavedModel, a tf.train.CheckpointOptions for a
            TensorFlow checkpoint.
        {options}

    Raises:
        InvalidCheckpoint: An argument cannot work; the message names it and the reason.
        NotAStore, NewerFormat: The location cannot be used as a store.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - Keras's signature
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,  # noqa: FBT001, FBT002
        save_weights_only: bool = False,  # noqa: FBT001, FBT002
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        *,
        options: Any = None,
        **more: Unpack[CheckpointOptions],
    ) -> None:
        checked = check_options(self, more, self.options_type)
        save_freq = check_save_freq(save_freq)
        adapter = Keras3()
        path = PathTemplate(
            filepath,
            adapter,
            options,
            weights_only=save_weights_only,
            has_batch=save_freq != "epoch",
        )
        super().__init__(
            filepath="x.weights.h5" if save_weights_only else "x.keras",  # Keras accepts only these
            monitor=monitor,
            verbose=verbose,
            save_best_only=save_best_only,
            save_weights_only=save_weights_only,
            mode=mode,
            save_freq=save_freq,
            initial_value_threshold=initial_value_threshold,
        )
        as_newest_keras(self, mode, initial_value_threshold)
        self.filepath = path.given
        self._set_up(adapter, path, checked)

    def _make_resuming(self, options: Options, *, is_named: bool) -> Resuming:
        check_resume(options.resume, named=is_named)
        return Resumer(self, options.state_of)
