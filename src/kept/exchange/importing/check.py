"""Checks files before they become versions, and reads from them what versions state."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput
from kept.exchange.importing.health import health_in
from kept.store.loading.hdf5 import root_attributes
from kept.store.loading.model_file import check_weights

if TYPE_CHECKING:
    import h5py

ENDINGS = (".keras", ".weights.h5", ".h5", ".hdf5")  # of checkpoints in one file
_HDF5 = b"\x89HDF\r\n\x1a\n"
_OF_MODELS = ("keras_version", "model_config", "layer_names")  # attributes that Keras writes
_MOST = 2**20  # bytes of metadata.json


def check_file(path: str) -> None:
    """Raise InvalidInput for a file that is damaged, or no checkpoint of Keras."""
    file = Path(path)
    check_weights(file)
    if path.endswith(".keras") and not is_hdf5(path):
        _check_archive(path)
    elif not _is_of_keras(path):
        raise InvalidInput("it is an HDF5 file without weights of Keras")


def is_hdf5(path: str) -> bool:
    """Return whether a file is HDF5, whatever its ending."""
    with open(path, "rb") as file:
        return file.read(8) == _HDF5


def facts_of(path: str) -> dict[str, Any]:
    """Return the format of a file of Keras, the Keras that has written it, and its health."""
    return {**_format_of(path), **health_in(path)}


def _format_of(path: str) -> dict[str, str]:
    if path.endswith(".keras") and not is_hdf5(path):
        return {"format": "keras"} | _version(_metadata(path).get("keras_version"))
    if path.endswith(".weights.h5"):
        return {"format": "weights.h5"}
    found = root_attributes(Path(path), "keras_version", "model_config")
    is_model = len(found) == 2
    is_old = not is_model or found[0].startswith(("1.", "2."))
    version = _version(found[0]) if found and is_old else {}
    return {"format": "h5" if is_model else "h5_weights"} | version


def _version(found: Any) -> dict[str, str]:
    return {"keras_version": found} if isinstance(found, str) else {}


def _metadata(path: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("metadata.json") as file:
            found = json.loads(file.read(_MOST))
    except (KeyError, ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_archive(path: str) -> None:
    """Read the whole archive: its checksums find damage."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise InvalidInput(f"it is damaged: {error}") from None
    if bad is not None:
        raise InvalidInput(f"it is damaged: the checksum of its {bad} is wrong")


def _is_of_keras(path: str) -> bool:
    """Return whether an HDF5 file has the form in which a Keras writes weights."""
    import h5py

    with h5py.File(path, "r") as file:
        if any(name in file.attrs for name in _OF_MODELS):
            return True
        return bool(file.visititems(_is_of_layer))


def _is_of_layer(name: str, item: h5py.Dataset | h5py.Group) -> bool | None:
    """Return True, which ends the visit, for an array at layers/…/vars/0; else None."""
    has_shape = hasattr(item, "shape")
    return True if has_shape and name.split("/")[-2:-1] == ["vars"] else None
