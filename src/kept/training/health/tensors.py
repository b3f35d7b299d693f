"""The tensors of a model whose health is measured: floating weights, and the optimizer's state."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kept.store.health.measure import can_measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.training.snapshot.snapshot import Snapshot

    Array = np.ndarray[Any, Any]


class Tensor(NamedTuple):
    """A tensor, as findings name it."""

    name: str  # "dense/kernel"
    layer: str  # "dense"; empty for what training does not change, and for the optimizer
    dtype: str
    size: int  # values, more than 0
    units: int  # of a kernel, which are its last axis; 0 for others
    is_weight: bool  # else it is of the optimizer
    place: int = 0  # in the snapshot


def tensors_of(model: Any, snapshot: Snapshot) -> list[Tensor]:
    """Return the tensors of a model that a snapshot holds, each once."""
    references, buffers = snapshot.held()
    places = {id(reference()): n for n, reference in enumerate(references)}
    found = []
    for variable, is_weight in _variables(model):
        place = places.pop(id(variable), None)
        if place is not None:
            dtype = str(buffers[place].dtype).removeprefix("torch.")
            shape = tuple(int(length) for length in buffers[place].shape)
            found.append(_tensor(model, variable, shape, dtype, is_weight=is_weight))
            found[-1] = found[-1]._replace(place=place)
    return [one for one in found if one.size and can_measure(one.dtype)]


def live_tensors(model: Any) -> tuple[list[Tensor], list[Array]]:
    """Return the tensors of a model with the bytes of their values, on the training thread."""
    tensors, values, known = [], [], set[int]()
    for variable, is_weight in _variables(model):
        if id(variable) in known or not _is_here(variable):
            continue
        known.add(id(variable))
        dtype = str(getattr(variable.dtype, "name", variable.dtype)).removesuffix("_ref")
        if not can_measure(dtype):
            continue
        array = np.ascontiguousarray(_read(variable))
        tensor = _tensor(model, variable, array.shape, array.dtype.name, is_weight=is_weight)
        if tensor.size and can_measure(tensor.dtype):
            tensors.append(tensor)
            values.append(array.reshape(-1).view(np.uint8))
    return tensors, values


def _variables(model: Any) -> Iterator[tuple[Any, bool]]:
    """Yield the weights of a model and the variables of its optimizers, and which these are."""
    for variable in model.weights:
        yield variable, True
    for optimizer in _optimizers(model):
        own = getattr(optimizer, "variables", ())
        for variable in own() if callable(own) else own:  # a method of old optimizers of tf_keras
            yield variable, False


def _optimizers(model: Any) -> Sequence[Any]:
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model):  # of tf_keras
        return [one for one in [getattr(model, "optimizer", None)] if one is not None]
    from kept.training.snapshot.variables import all_optimizers

    return all_optimizers(model)


def _tensor(
    model: Any, variable: Any, shape: Sequence[int], dtype: str, *, is_weight: bool
) -> Tensor:
    size = int(np.prod(shape, dtype=np.int64))
    name = str(getattr(variable, "path", None) or getattr(variable, "name", "?"))
    name = name.partition(":")[0].removeprefix(f"{getattr(model, 'name', '')}/")
    is_trained = is_weight and bool(getattr(variable, "trainable", True))
    layer = (name.rpartition("/")[0] or name) if is_trained else ""
    units = int(shape[-1]) if is_trained and len(shape) > 1 else 0
    has_inputs = bool(units) and size // units > 1
    return Tensor(name, layer, dtype, size, units if has_inputs else 0, is_weight)


def _is_here(variable: Any) -> bool:
    """Return whether this process can read a variable without the others."""
    return bool(getattr(getattr(variable, "value", None), "is_fully_addressable", True))


def _read(variable: Any) -> Array:
    value = getattr(variable, "value", variable)
    value = variable if callable(value) else value  # a variable of TensorFlow
    if hasattr(value, "detach"):  # a tensor of torch
        import torch

        value = value.detach().cpu()
        return np.asarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)
