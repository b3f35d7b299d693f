"""The layers of a model as a tree, and the versions that share the bytes of a tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kept.store.content.manifest import Manifest
    from kept.store.tensors.tensor import StoredTensor
    from kept.store.tensors.tensors import Tensors


@dataclass(slots=True)
class Layer:
    """A layer, with the layers in it and its own tensors; the figures include those in it."""

    name: str  # "query"
    path: str  # "encoder/attention/query"; "" for the whole model
    layers: dict[str, Layer] = field(default_factory=dict)
    tensors: list[StoredTensor] = field(default_factory=list)
    nbytes: int = 0
    size: int = 0  # elements
    count: int = 0  # tensors

    def walk(self) -> Iterator[Layer]:
        """Yield the layer and all layers in it, each before those in it."""
        yield self
        for layer in self.layers.values():
            yield from layer.walk()


def layer_tree(tensors: Iterable[StoredTensor]) -> Layer:
    """Return the layers of some tensors, in the order in which they are met."""
    root = Layer("", "")
    for tensor in tensors:
        here = root
        _count(here, tensor)
        for part in filter(None, tensor.layer.split("/")):
            if part not in here.layers:
                here.layers[part] = Layer(part, f"{here.path}/{part}".lstrip("/"))
            here = here.layers[part]
            _count(here, tensor)
        here.tensors.append(tensor)
    return root


def _count(layer: Layer, tensor: StoredTensor) -> None:
    layer.nbytes += tensor.nbytes
    layer.size += tensor.size
    layer.count += 1


def shared_with(tensors: Tensors, others: Mapping[str, Manifest]) -> dict[StoredTensor, list[str]]:
    """Map each tensor to those of the other versions that have its bytes; nothing else is read.

    others are manifests by the names of their versions. A tensor of less than 4 KiB shares a chunk
    with its neighbours, so it only counts as shared together with them.
    """
    held = {name: {chunk.digest for chunk in found.chunks()} for name, found in others.items()}
    result: dict[StoredTensor, list[str]] = {}
    for tensor in tensors:
        needed = {piece.digest for piece in tensors.pieces(tensor)}
        names = [name for name, digests in held.items() if needed and needed <= digests]
        result[tensor] = names
    return result
