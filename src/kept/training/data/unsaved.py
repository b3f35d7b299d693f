"""What a run holds that no version holds, so that a resumed run does not differ in silence.

A version has the variables of Keras, the global random generators, and the states that callbacks
and datasets give. Other random generators, and values that Keras does not track, are new ones then.
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kept.digest import digest
from kept.training.data.data_state import dataset_of, has_own_state
from kept.training.snapshot.variables import layers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.data.running_fit import Fit

    Holders = list[tuple[str, Any]]  # the name of an object, and the object

_LARGE = 1 << 24  # bytes; a larger value is not compared
_DEPTH = 2  # of lists, tuples and dicts in an attribute
_MANY = 100  # members; of a larger list only the length is compared
# Attributes of a model or a layer that belong to Keras, or to a fit.
_OF_A_FIT = {
    *("train_function", "test_function", "predict_function", "history", "stop_training"),
    *("_jax_state", "_jax_state_synced", "_epoch_iterator", "_eval_epoch_iterator"),
    *("_initial_epoch", "_compiled_trainable_state"),
}


class UnsavedValues:
    """The numbers and arrays in attributes of objects, to find those that training changes.

    A constant, such as a table of positions, is made again by the script and is no loss.
    """

    def __init__(self, holders: Holders) -> None:
        """Digest the values at the start of a fit."""
        self._before = dict(_values(holders))

    def changed(self, holders: Holders) -> list[str]:
        """Return the names of the attributes whose values have changed since."""
        found = [name for name, value in _values(holders) if self._before.get(name) != value]
        return sorted({name.partition("[")[0] for name in found})


def layers_without_state(model: keras.Model) -> Holders:
    """Return the layers of the user's own classes that save variables as Keras does, by name.

    Keras's own layers keep everything in variables that it tracks.
    """
    own = [one for one in layers_of(model) if not _is_of_keras(type(one))]
    plain = [one for one in own if _is_of_keras(type(one).save_own_variables)]
    return [(f"layer {one.path or one.name}", one) for one in plain]


def callbacks_without_state(fit: Fit) -> Holders:
    """Return the callbacks of others than Keras and kept that give no state, by name."""
    own = [one for one in fit.callbacks if _package(type(one)) not in ("keras", "kept")]
    return [(type(one).__name__, one) for one in own if not has_own_state(one)]


def random_generators(model: keras.Model, fit: Fit) -> list[str]:
    """Return the names of random generators whose states no version holds.

    They are attributes of layers, of callbacks, and of a PyDataset. One that gives a state, or a
    layer that saves in its own way, is responsible for its generators.
    """
    dataset, kinds = dataset_of(fit), _generator_kinds()
    holders = [*layers_without_state(model), *callbacks_without_state(fit)]
    if dataset is not None and not has_own_state(dataset):
        holders.append((type(dataset).__name__, dataset))
    return [
        f"{holder_name}.{name} ({type(value).__module__.partition('.')[0]}.{type(value).__name__})"
        for holder_name, holder in holders
        for name, value in _attributes(holder)
        if isinstance(value, kinds)
    ]


def _generator_kinds() -> tuple[type, ...]:
    found = [random.Random, np.random.Generator, np.random.RandomState]
    if (torch := sys.modules.get("torch")) is not None:
        found.append(torch.Generator)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        found.append(tf.random.Generator)
    return tuple(found)


def _is_of_keras(what: Any) -> bool:
    return _package(what) == "keras"


def _package(what: Any) -> str:
    return str(what.__module__).partition(".")[0]


def _values(holders: Holders) -> Iterator[tuple[str, str]]:
    """Yield the name and the digest of each number and array."""
    for holder_name, holder in holders:
        for name, value in _attributes(holder):
            if _is_array(value) or type(value) in (int, float):
                found = _digest(value)
                if found is not None:
                    yield f"{holder_name}.{name}", found


def _attributes(holder: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes that are the user's, with the members of containers."""
    kind = keras.Model if isinstance(holder, keras.Model) else keras.layers.Layer
    known = _OF_A_FIT | (_attributes_of(kind) if isinstance(holder, kind) else set())
    own = {**getattr(holder, "__dict__", {}), **getattr(holder, "_buffers", {})}
    for name, value in own.items():
        if name not in known:
            yield from _leaves(name, value, _DEPTH)


def _attributes_of(kind: type) -> set[str]:
    """Return the attributes that Keras itself gives a model or a layer."""
    if kind not in _known:
        # With a name, because Keras counts those that it makes up.
        model = kind is keras.Model
        one = keras.Sequential(name="any") if model else keras.layers.Layer(name="any")
        _known[kind] = {*vars(one), "_buffers"}
    return _known[kind]


_known: dict[type, set[str]] = {}


def _leaves(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, (list, tuple, dict)):
        yield name, value
    elif len(value) > _MANY:
        yield name, len(value)
    elif depth:
        # A copy, because another thread may change it.
        for key, item in [*(value.items() if isinstance(value, dict) else enumerate(value))]:
            yield from _leaves(f"{name}[{key!r}]", item, depth - 1)


def _is_array(value: Any) -> bool:
    """Return whether a value is an array, or a variable of a framework, and none of Keras."""
    if isinstance(value, keras.Variable) or not hasattr(value, "dtype"):
        return False
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if isinstance(value, tf.Variable):
            return True
    parameter = getattr(sys.modules.get("torch"), "nn", None)
    if parameter is not None and isinstance(value, parameter.Parameter):
        return False
    return isinstance(value, np.ndarray) or keras.ops.is_tensor(value)


def _digest(value: Any) -> str | None:
    """Return the digest of a value; None for a large one, and for one that cannot be read."""
    if type(value) in (int, float):
        return repr(value)
    try:
        if np.prod(value.shape) * 4 > _LARGE:
            return None
        array = np.asarray(keras.ops.convert_to_numpy(value))
        return digest(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
    except Exception:  # noqa: BLE001 - a tracer of JAX, or an object that only looks like an array
        return None
