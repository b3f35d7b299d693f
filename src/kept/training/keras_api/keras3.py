"""Keras 3, on TensorFlow, JAX and torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.training.keras_api.formats import SAVED_MODEL, TF_CHECKPOINT, WEIGHTS
from kept.training.keras_api.private_api import tensorflow_not_imported
from kept.training.keras_api.save_file import write_checkpoint

if TYPE_CHECKING:
    from kept.training.keras_api.formats import Format


class Keras3:
    """See KerasAdapter."""

    package = "keras"
    cannot_snapshot: str | None = None
    version: str = keras.__version__

    @property
    def framework(self) -> str:
        return str(keras.backend.backend())

    def owns(self, model: Any) -> bool:
        return isinstance(model, keras.Model)

    def direction(self, callback: Any) -> str | None:
        given = callback.monitor_op  # of the user, or None
        try:
            if given is None:
                callback._set_monitor_op()  # noqa: SLF001 - Keras's own rule asks the metric
            return "min" if callback.monitor_op(0.0, 1.0) else "max"
        except ValueError:
            return None
        finally:
            callback.monitor_op = given  # the next fit may have another monitor

    def write(self, model: Any, path: str, format: Format, options: Any) -> None:
        if format is SAVED_MODEL:
            _export(model, path, options)
        elif format is TF_CHECKPOINT:
            import tensorflow as tf

            tf.train.Checkpoint(model).write(path, options=options)
        else:
            with tensorflow_not_imported():
                write_checkpoint(model, path, weights_only=format is WEIGHTS)

    def step(self, model: Any) -> int | None:
        optimizer = getattr(model, "optimizer", None)
        if optimizer is None:
            return None
        return int(keras.ops.convert_to_numpy(optimizer.iterations))


def _export(model: Any, path: str, options: Any) -> None:
    if options is None:
        model.export(path, verbose=False)
        return
    # model.export takes no SaveOptions; these are its steps, the first of them private.
    from keras.src.export.export_utils import get_input_signature

    archive = keras.export.ExportArchive()
    archive.track_and_add_endpoint("serve", model, get_input_signature(model))
    archive.write_out(path, options=options, verbose=False)
