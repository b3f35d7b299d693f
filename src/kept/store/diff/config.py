"""The configuration of the model in a file: what Keras builds it from, as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kept.store.tensors.find import may_have_tensors

if TYPE_CHECKING:
    from kept.store.tensors.tensors import Tensors

_OF_H5 = ("model_config", "training_config", "keras_version")
_OF_KERAS = ("config.json", "metadata.json")
_VERSION = "keras_version"


def config_of(tensors: Tensors, path: str) -> dict[str, Any]:
    """Return the configuration in a file, empty for one of weights alone; raises Damaged."""
    if not may_have_tensors(path):
        return {}
    if path.lower().endswith(".keras"):
        config, about = (_parsed(tensors.member(path, name)) for name in _OF_KERAS)
        version = about.get(_VERSION)
        return config | ({_VERSION: version} if version is not None else {})
    if path.lower().endswith((".h5", ".hdf5")):
        found = tensors.attributes(path, *_OF_H5)
        version = found.pop(_VERSION, None)
        parsed = {name: _parsed(text) for name, text in found.items()}
        return parsed | ({_VERSION: version} if parsed and version is not None else {})
    return {}


def _parsed(text: bytes | str) -> dict[str, Any]:
    """Return an object of JSON; empty for everything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
