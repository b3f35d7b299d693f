"""Loading models out of versions. The only module of the store that needs Keras.

Loading never runs code from a version unless the caller turns safe_mode off.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput

if TYPE_CHECKING:
    import keras

    from kept.store.version import Version

_WEIGHTS = ".weights.h5"
_MODELS = (".keras", ".h5")
_SAVED_MODEL = "saved_model.pb"
_INDEX = ".index"  # of a TensorFlow checkpoint
_USE_IT = (
    "Use download(folder), then tf.saved_model.load(folder), or in a model "
    "keras.layers.TFSMLayer(folder, call_endpoint='serve')."
)


def load_model(version: Version, keras_options: dict[str, Any]) -> keras.Model:
    """Return the whole model in a version; see Version.load_model."""
    if _SAVED_MODEL in _paths(version):
        return _load_saved_model(version, keras_options)
    path = _only(version, [p for p in _paths(version) if _is_model(version, p)], "a whole model")
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        file = version.download(folder) / path
        return _keras_of(version).saving.load_model(file, **({"safe_mode": True} | keras_options))


def load_weights(version: Version, model: keras.Model) -> None:
    """Load the weights in a version into model; see Version.load_weights."""
    paths = _paths(version)
    if _SAVED_MODEL in paths:
        raise InvalidInput(
            f"{version.reference} holds a SavedModel, from which no weights can be loaded into a "
            f"model. {_USE_IT}"
        )
    indices = [p for p in paths if p.endswith(_INDEX) and "/" not in p]
    weights = [p for p in paths if p.endswith(_WEIGHTS)] or indices
    path = _only(version, weights or [p for p in paths if p.endswith(_MODELS)], "weights")
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        file = version.download(folder) / path
        if indices:
            _load_tf_checkpoint(version, model, str(file).removesuffix(_INDEX))
        else:
            model.load_weights(file)


def _load_saved_model(version: Version, keras_options: dict[str, Any]) -> keras.Model:
    keras = _keras_of(version)
    if keras.__name__ != "tf_keras":
        raise InvalidInput(
            f"{version.reference} holds a SavedModel, which Keras 3 makes no model of again. "
            f"{_USE_IT}"
        )
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        return keras.models.load_model(version.download(folder), **keras_options)


def _load_tf_checkpoint(version: Version, model: keras.Model, prefix: str) -> None:
    if _keras_of(version).__name__ == "tf_keras":
        model.load_weights(prefix).expect_partial()
        return
    import tensorflow as tf

    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)  # or its state would wait for a first step
    status = tf.train.Checkpoint(model).read(prefix).expect_partial()
    try:
        status.assert_existing_objects_matched()
    except AssertionError as error:
        raise InvalidInput(f"{version.reference} does not fit the model: {error}") from None


def _keras_of(version: Version) -> Any:
    """Return the Keras that the version was saved with, as far as Keras 2 and 3 go."""
    if str(version.metadata.get("keras_version")).startswith("2."):
        import tf_keras

        return tf_keras
    import keras

    return keras


def _paths(version: Version) -> list[str]:
    return [file.path for file in version.files]


def _is_model(version: Version, path: str) -> bool:
    is_weights = version.metadata.get("format") == "h5_weights"  # of Keras 2
    return path.endswith(_MODELS) and not path.endswith(_WEIGHTS) and not is_weights


def _only(version: Version, paths: list[str], what: str) -> Path:
    if len(paths) == 1:
        return Path(paths[0])
    raise InvalidInput(
        f"{version.reference} does not hold exactly one file with {what} "
        f"(.keras, .h5 or .weights.h5). It holds: {', '.join(_paths(version))}. "
        "Use download() and load the file you want."
    )
