"""Keras 3, on TensorFlow, JAX and torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.errors import InvalidCheckpoint
from kept.training.keras_api.formats import SAVED_MODEL, TF_CHECKPOINT, WEIGHTS
from kept.training.keras_api.private_api import tensorflow_not_imported
from kept.training.keras_api.save_file import write_checkpoint

if TYPE_CHECKING:
    from kept.training.keras_api.formats import Format


OLDEST = (3, 10)  # as in pyproject.toml


def check_version(version: str) -> None:
    """Raise InvalidCheckpoint for a Keras that is older than kept supports."""
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise InvalidCheckpoint(
            f"kept needs Keras {'.'.join(map(str, OLDEST))} or later, and found Keras {version}. "
            "Install a newer one: pip install --upgrade keras"
        )


class Keras3:
    """See KerasAdapter."""

    package = "keras"
    saves_unmeasured = True
    cannot_snapshot: str | None = None
    version: str = keras.__version__

    def __init__(self) -> None:
        check_version(self.version)

    @property
    def framework(self) -> str:
        return str(keras.backend.backend())

    def owns(self, model: Any) -> bool:
        return isinstance(model, keras.Model)

    def direction(self, callback: Any) -> str | None:
        better = callback.monitor_op  # of the user, or None
        try:
            if better is None:
                # Keras's own rule, which asks the metric. ModelCheckpoint has it since Keras 3.12.
                rule = keras.callbacks.EarlyStopping(callback.monitor, mode=callback.mode)
                rule.set_model(callback.model)
                rule._set_monitor_op()  # noqa: SLF001
                better = rule.monitor_op
            return "min" if better(0.0, 1.0) else "max"
        except ValueError:
            return None

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


def as_newest_keras(callback: Any, mode: str, threshold: float | None) -> None:
    """Give a ModelCheckpoint the attributes that the newest Keras gives it.

    Keras 3.10 lacks mode, decides by the metric's name alone, and begins with an infinity.
    """
    callback.mode = mode if mode in {"min", "max"} else "auto"
    callback.monitor_op = None
    callback.best = threshold
