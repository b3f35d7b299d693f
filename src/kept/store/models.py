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


def load_model(version: Version, keras_options: dict[str, Any]) -> keras.Model:
    """Return the whole model in a version; see Version.load_model."""
    path = _only(version, [p for p in _paths(version) if _is_model(p)], "a whole model")
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        file = version.download(folder) / path
        return _keras_of(version).saving.load_model(file, **({"safe_mode": True} | keras_options))


def load_weights(version: Version, model: keras.Model) -> None:
    """Load the weights in a version into model; see Version.load_weights."""
    weights = [p for p in _paths(version) if p.endswith(_WEIGHTS)]
    path = _only(version, weights or [p for p in _paths(version) if _is_model(p)], "weights")
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        model.load_weights(version.download(folder) / path)


def _keras_of(version: Version) -> Any:
    """Return the Keras that the version was saved with, as far as Keras 2 and 3 go."""
    if str(version.metadata.get("keras_version")).startswith("2."):
        import tf_keras

        return tf_keras
    import keras

    return keras


def _paths(version: Version) -> list[str]:
    return [file.path for file in version.files]


def _is_model(path: str) -> bool:
    return path.endswith(_MODELS) and not path.endswith(_WEIGHTS)


def _only(version: Version, paths: list[str], what: str) -> Path:
    if len(paths) == 1:
        return Path(paths[0])
    raise InvalidInput(
        f"{version.reference} does not hold exactly one file with {what} "
        f"(.keras, .h5 or .weights.h5). It holds: {', '.join(_paths(version))}. "
        "Use download() and load the file you want."
    )
