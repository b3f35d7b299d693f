"""Loads models out of versions. Only this module of the store needs Keras.

Loading runs no code from a version unless the caller turns safe_mode off.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kept.errors import InvalidInput

if TYPE_CHECKING:
    import os

    import keras

    from kept.store.content.manifest import File

_WEIGHTS = ".weights.h5"
_MODELS = (".keras", ".h5")
_SAVED_MODEL = "saved_model.pb"
_INDEX = ".index"  # of a TensorFlow checkpoint
_USE_IT = (
    "Use download(folder), then tf.saved_model.load(folder), or in a model "
    "keras.layers.TFSMLayer(folder, call_endpoint='serve')."
)


class Loadable(Protocol):
    """The part of a Version that loading needs."""

    @property
    def reference(self) -> str: ...

    @property
    def metadata(self) -> dict[str, Any]: ...

    @property
    def files(self) -> tuple[File, ...]: ...

    def download(self, root: str | os.PathLike[str]) -> Path: ...


def load_model(version: Loadable, keras_options: dict[str, Any]) -> keras.Model:
    """Load the whole model in a version; see Version.load_model."""
    if _SAVED_MODEL in _paths(version):
        return _load_saved_model(version, keras_options)
    path = _only(version, [p for p in _paths(version) if _is_model(version, p)], "a whole model")
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        file = version.download(folder) / path
        return _keras_of(version).saving.load_model(file, **({"safe_mode": True} | keras_options))


def load_weights(version: Loadable, model: keras.Model) -> None:
    """Load the weights in a version into model; see Version.load_weights."""
    paths = _paths(version)
    if _SAVED_MODEL in paths:
        raise InvalidInput(
            f"{version.reference} holds a SavedModel; its weights cannot be loaded into a model. "
            f"{_USE_IT}"
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


def _load_saved_model(version: Loadable, keras_options: dict[str, Any]) -> keras.Model:
    keras = _keras_of(version)
    if keras.__name__ != "tf_keras":
        raise InvalidInput(
            f"{version.reference} holds a SavedModel; Keras 3 cannot load it as a model. {_USE_IT}"
        )
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        return keras.models.load_model(version.download(folder), **keras_options)


def _load_tf_checkpoint(version: Loadable, model: keras.Model, prefix: str) -> None:
    if _keras_of(version).__name__ == "tf_keras":
        model.load_weights(prefix).expect_partial()
        return
    import tensorflow as tf

    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)  # else its state would wait for a first step
    status = tf.train.Checkpoint(model).read(prefix).expect_partial()
    try:
        status.assert_existing_objects_matched()
    except AssertionError as error:
        raise InvalidInput(f"{version.reference} does not fit the model: {error}") from None


def _keras_of(version: Loadable) -> Any:
    """Return the Keras that the version was saved with: tf_keras for Keras 2, or Keras 3."""
    if str(version.metadata.get("keras_version")).startswith("2."):
        import tf_keras

        return tf_keras
    import keras

    return keras


def _paths(version: Loadable) -> list[str]:
    return [file.path for file in version.files]


def _is_model(version: Loadable, path: str) -> bool:
    is_weights = version.metadata.get("format") == "h5_weights"  # of Keras 2
    return path.endswith(_MODELS) and not path.endswith(_WEIGHTS) and not is_weights


def _only(version: Loadable, paths: list[str], what: str) -> Path:
    if len(paths) == 1:
        return Path(paths[0])
    raise InvalidInput(
        f"{version.reference} does not hold exactly one file with {what} "
        f"(.keras, .h5 or .weights.h5). It holds: {', '.join(_paths(version))}. "
        "Use download() and load the file you want."
    )
