"""Names of tensors for people: "dense/kernel" in place of "layers/dense/vars/0".

Keras 3 numbers the variables of a layer. Their names follow from the class of the layer, which the
path contains, and from their number. Where neither says more, the number stays.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kept.store.tensors.tensor import Role

_KERNEL = ("kernel", "bias")
_CELL = ("kernel", "recurrent_kernel", "bias")
_BY_CLASS = {
    "dense": _KERNEL,
    "einsum_dense": _KERNEL,
    "depthwise_conv1d": _KERNEL,
    "depthwise_conv2d": _KERNEL,
    "embedding": ("embeddings",),
    "layer_normalization": ("gamma", "beta"),
    "group_normalization": ("gamma", "beta"),
    "rms_normalization": ("scale",),
    "normalization": ("mean", "variance", "count"),
    "p_re_lu": ("alpha",),
    "lstm_cell": _CELL,
    "gru_cell": _CELL,
    "simple_rnn_cell": _CELL,
    "separable_conv1d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
}
_BATCH_NORM = {
    2: ("moving_mean", "moving_variance"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}
_CONVOLUTION = re.compile(r"conv[123]d(_transpose)?")
_NUMBERED = re.compile(r"_\d+$")
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_OPTIMIZER = ("iteration", "learning_rate")  # its first two variables in Keras 3


class Name(NamedTuple):
    """The layer of a tensor, its name in the layer, and what it is for."""

    layer: str
    weight: str
    role: Role = "weights"

    @property
    def full(self) -> str:
        """The name with the layer's."""
        return f"{self.layer}/{self.weight}" if self.layer else self.weight


def keras_names(paths: Iterable[str], layer_names: Mapping[str, str]) -> dict[str, Name]:
    """Return the names of the variables in a file of Keras 3, by their paths.

    layer_names has the name of the layer of a group, where the file states it. Two variables whose
    names would be equal keep their paths.
    """
    found: dict[str, Name] = {}
    every = list(paths)
    counts = Counter(path.rpartition("/")[0] for path in every)
    for path in every:
        group, _, number = path.rpartition("/")
        found[path] = _keras_name(group, number, counts[group], layer_names)
    return _distinct(found)


def legacy_names(paths: Iterable[str]) -> dict[str, Name]:
    """Return the names of the weights in an .h5 file of the layout of Keras 2, by their paths."""
    found = {path: _legacy_name(path) for path in paths}
    return _distinct(found)


def dotted_name(text: str) -> Name:
    """Return the name of a tensor of another library: layer.0.weight belongs to layer.0."""
    layer, _, weight = text.replace("/", ".").rpartition(".")
    return Name(layer.replace(".", "/"), weight)


def _distinct(found: dict[str, Name]) -> dict[str, Name]:
    counts = Counter(name.full for name in found.values())
    for path, name in found.items():
        if counts[name.full] > 1:
            layer, _, weight = path.rpartition("/")
            found[path] = Name(layer, weight, name.role)
    return found


def _keras_name(group: str, number: str, count: int, names: Mapping[str, str]) -> Name:
    parts = group.split("/")
    if parts[-1] != "vars":  # not a layout of Keras
        return Name(group, number)
    parts = parts[:-1]
    if parts and parts[0] == "optimizer":
        position = int(number) if number.isdigit() else len(_OPTIMIZER)
        known = parts == ["optimizer"] and position < len(_OPTIMIZER)
        return Name("/".join(parts), _OPTIMIZER[position] if known else number, "optimizer")
    layer = "/".join(_layer_parts(parts, names))
    if parts and parts[0] == "metrics":  # counters of tf_keras
        return Name(layer, number, "state")
    weights = _weights_of(parts, names, count)
    is_known = number.isdigit() and int(number) < len(weights)
    return Name(layer, weights[int(number)] if is_known else number)


def _layer_parts(parts: list[str], names: Mapping[str, str]) -> list[str]:
    """Return the names of a layer and of those around it."""
    found = []
    for end, part in enumerate(parts, 1):
        name = names.get("/".join(parts[:end]))
        if name is not None or part not in _CONTAINERS:
            found.append(part if name is None else name)
    return found


def _weights_of(parts: list[str], names: Mapping[str, str], count: int) -> tuple[str, ...]:
    """Return the names of a layer's variables, none if its class is unknown."""
    if not parts:
        return ()
    kind = _NUMBERED.sub("", parts[-1])
    if kind == "batch_normalization":
        return _BATCH_NORM.get(count, ())
    if _CONVOLUTION.fullmatch(kind) or kind.endswith("_dense"):
        return _KERNEL
    if kind == "cell":
        kind = _NUMBERED.sub("", names.get("/".join(parts), ""))
    return _BY_CLASS.get(kind, ())


def _legacy_name(path: str) -> Name:
    parts = [part.removesuffix(":0") for part in path.split("/")]
    if parts[0] == "optimizer_weights":
        return Name("/".join(["optimizer", *parts[1:-1]]), parts[-1], "optimizer")
    if parts[0] == "model_weights":
        parts = parts[1:]
    layer, inner = parts[0], parts[1:]
    if layer in inner[:-1]:  # dense/dense/kernel, or dense/sequential/dense/kernel
        parts = inner[inner.index(layer) :]
    return Name("/".join(parts[:-1]), parts[-1])
