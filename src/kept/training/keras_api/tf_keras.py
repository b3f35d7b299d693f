"""tf_keras, which is Keras 2: TensorFlow only, and without a StatelessScope.

Without that scope a model cannot be saved from a snapshot, so its file is written on the training
thread. Versions do not hold the state of a run (random generators, callbacks, the position in the
data).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tf_keras

from kept.errors import InvalidCheckpoint
from kept.training.keras_api.formats import H5_WEIGHTS, SAVED_MODEL, TF_CHECKPOINT, WEIGHTS
from kept.training.keras_api.save_file import write_checkpoint

if TYPE_CHECKING:
    from kept.training.keras_api.formats import Format

_OWN = ("period", "load_weights_on_restart")  # arguments that Keras 3 has removed


class TfKeras:
    """See KerasAdapter."""

    package = "tf_keras"
    saves_unmeasured = False
    cannot_snapshot: str | None = "tf_keras cannot save a model from a snapshot"
    framework = "tensorflow"
    version: str = tf_keras.__version__

    def owns(self, model: Any) -> bool:
        return isinstance(model, tf_keras.Model)

    def direction(self, callback: Any) -> str | None:
        return "min" if callback.monitor_op(0.0, 1.0) else "max"

    def write(self, model: Any, path: str, format: Format, options: Any) -> None:
        more = {"options": options} if options is not None else {}
        if format is TF_CHECKPOINT:
            model.save_weights(path, save_format="tf", **more)
        elif format in (WEIGHTS, H5_WEIGHTS):
            model.save_weights(path)
        elif format is SAVED_MODEL:
            model.save(path, save_format="tf", **more)
        else:
            write_checkpoint(model, path, weights_only=False)

    def step(self, model: Any) -> int | None:
        optimizer = getattr(model, "optimizer", None)
        return None if optimizer is None else int(optimizer.iterations.numpy())


def split_legacy(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments that are tf_keras's own, and the rest; raises InvalidCheckpoint."""
    legacy = {name: value for name, value in given.items() if name in _OWN}
    period = legacy.get("period", 1)
    if not isinstance(period, int) or isinstance(period, bool) or period < 1:
        raise InvalidCheckpoint(f"period is a number of epochs. Received: period={period!r}")
    return legacy, {name: value for name, value in given.items() if name not in _OWN}
