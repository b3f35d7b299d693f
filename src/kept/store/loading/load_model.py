"""Loads models out of versions. Only this module of the store needs Keras.

Loading runs no code from a version unless the caller turns safe_mode off. The writer of a version
chose its metadata and bytes, so kept checks both before it calls Keras; SECURITY.md has the rules.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kept.errors import InvalidInput
from kept.store.loading import model_file
from kept.store.loading.config_keras2 import check_config_of_keras_2
from kept.store.loading.known_holes import warn_of_holes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import keras

    from kept.store.content.manifest import File

_WEIGHTS = ".weights.h5"
_MODELS = (".keras", ".h5", ".hdf5")
_SAVED_MODEL = "saved_model.pb"
_INDEX = ".index"  # of a TensorFlow checkpoint
_OF_KERAS_2 = "keras_metadata.pb"  # only Keras 2 writes it into a SavedModel
_TRUST = "If you trust everyone who can write this store, use load_model(safe_mode=False)."
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
    trusted = keras_options.get("safe_mode", True) is False
    if _SAVED_MODEL in _paths(version):
        return _load_saved_model(version, keras_options, trusted=trusted)
    models = [p for p in _paths(version) if _is_model(version, p)]
    if not models and (weights := _weights_in(version)):
        raise InvalidInput(
            f"{version.reference} holds weights only, in {weights[0]}. Build the model by its own "
            "code, and load them into it: version.load_weights(model)"
        )
    path = _only(version, models, "a whole model")
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        file = version.download(folder) / path
        with _explained(version, "Use download() and load the file yourself."):
            is_keras_2 = _agreed_keras(version, file) == "2"
        if not trusted:
            with _explained(version, _TRUST):
                _check_model(file, keras_options, is_keras_2=is_keras_2)
        options = keras_options | {"safe_mode": not trusted}
        package = _tf_keras() if is_keras_2 else _keras()
        warn_of_holes(package.__version__)
        return package.saving.load_model(file, **options)


def load_weights(version: Loadable, model: keras.Model) -> None:
    """Load the weights in a version into model; see Version.load_weights."""
    paths = _paths(version)
    if _SAVED_MODEL in paths:
        raise InvalidInput(
            f"{version.reference} holds a SavedModel; its weights cannot be loaded into a model. "
            f"{_USE_IT}"
        )
    weights = _weights_in(version)
    path = _only(version, weights or [p for p in paths if p.endswith(_MODELS)], "weights")
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        file = version.download(folder) / path
        if path.name.endswith(_INDEX):
            _load_tf_checkpoint(version, model, str(file).removesuffix(_INDEX))
            return
        with _explained(version, "Use download() to look at the file."):
            model_file.check_weights(file)
        model.load_weights(file)


@contextlib.contextmanager
def _explained(version: Loadable, advice: str) -> Iterator[None]:
    """Add to a refusal which version it is about, and what the user can do."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(
            f"{version.reference} is not loaded, because {error}. {advice}"
        ) from None


def _check_model(file: Path, keras_options: dict[str, Any], *, is_keras_2: bool) -> None:
    if not is_keras_2:
        model_file.check_model(file)
        return
    if file.suffix != ".keras":
        raise InvalidInput(
            f"a {file.suffix} file of Keras 2 can run code while it is loaded, even in safe mode; "
            "load_weights(model) is safe, and so is a model that is saved as .keras"
        )
    model_file.check_weights(file)
    custom_objects = keras_options.get("custom_objects") or {}
    check_config_of_keras_2(model_file.config_of(file), _tf_keras(), custom_objects)


def _agreed_keras(version: Loadable, file: Path) -> str:
    """Return "2" or "3", the Keras that loads a file.

    Metadata alone would let the version's writer choose the less careful Keras. Raises
    InvalidInput if the file names another Keras.
    """
    said = model_file.major(version.metadata.get("keras_version"))
    if said is None:
        return "3"
    found = model_file.keras_of(file)
    if found != said:
        raise InvalidInput(
            f"its metadata name Keras {said}, and the file names "
            f"{f'Keras {found}' if found else 'no Keras'}"
        )
    return said


def _load_saved_model(
    version: Loadable, keras_options: dict[str, Any], *, trusted: bool
) -> keras.Model:
    paths = _paths(version)
    if _OF_KERAS_2 not in paths or model_file.major(version.metadata.get("keras_version")) != "2":
        raise InvalidInput(
            f"{version.reference} holds a SavedModel; Keras 3 cannot load it as a model. {_USE_IT}"
        )
    if not trusted:
        raise InvalidInput(
            f"{version.reference} is not loaded, because a SavedModel is a program that runs "
            f"while it is loaded. {_TRUST}"
        )
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        options = {name: value for name, value in keras_options.items() if name != "safe_mode"}
        return _tf_keras().models.load_model(version.download(folder), **options)


def _load_tf_checkpoint(version: Loadable, model: keras.Model, prefix: str) -> None:
    if _is_of_keras_2(model):
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


def _keras() -> Any:
    import keras

    return keras


def _tf_keras() -> Any:
    import tf_keras

    return tf_keras


def _is_of_keras_2(model: Any) -> bool:
    """Return whether a model is one of tf_keras, which need not be installed."""
    return any(kind.__module__.partition(".")[0] == "tf_keras" for kind in type(model).__mro__)


def _paths(version: Loadable) -> list[str]:
    return [file.path for file in version.files]


def _is_model(version: Loadable, path: str) -> bool:
    is_weights = version.metadata.get("format") == "h5_weights"  # of Keras 2
    return path.endswith(_MODELS) and not path.endswith(_WEIGHTS) and not is_weights


def _weights_in(version: Loadable) -> list[str]:
    """Return the files of weights: those of Keras, or else the index of a TensorFlow checkpoint."""
    paths = _paths(version)
    indices = [p for p in paths if p.endswith(_INDEX) and "/" not in p]
    if version.metadata.get("format") == "h5_weights":
        return [p for p in paths if p.endswith(_MODELS)]
    return [p for p in paths if p.endswith(_WEIGHTS)] or indices


def _only(version: Loadable, paths: list[str], what: str) -> Path:
    if len(paths) == 1:
        return Path(paths[0])
    if version.metadata.get("format") == "orbax":
        raise InvalidInput(
            f"{version.reference} holds a step of Orbax. Use download(folder), then "
            "keras.saving.load_model(folder) or model.load_weights(folder)."
        )
    raise InvalidInput(
        f"{version.reference} does not hold exactly one file with {what} "
        f"(.keras, .h5 or .weights.h5). It holds: {', '.join(_paths(version))}. "
        "Use download() and load the file you want."
    )
