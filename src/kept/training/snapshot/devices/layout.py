"""How a sharded array of JAX lies on the devices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jax.sharding import NamedSharding, PartitionSpec

JaxArray = Any
Device = Any


class Layout(NamedTuple):
    """An array that is cut along one dimension, each part on as many devices as the others.

    Equal layouts have equal hashes, so compiled programs are found again.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    dimension: int
    devices: tuple[tuple[Device, ...], ...]  # of each part, one for each copy

    @property
    def parts(self) -> int:
        """The number of parts."""
        return len(self.devices)

    @property
    def rows(self) -> int:
        """The number of rows: what the dimensions before the cut one make."""
        return math.prod(self.shape[: self.dimension])

    @property
    def row(self) -> int:
        """The number of elements of a row; each part has the same share of each row."""
        return math.prod(self.shape[self.dimension :])

    @property
    def spec(self) -> PartitionSpec:
        """The cut, along the axis "part" of the mesh."""
        from jax.sharding import PartitionSpec

        return PartitionSpec(*[None] * self.dimension, "part")

    @property
    def sharding(self) -> NamedSharding:
        """The sharding on a mesh with the axes "part" and "copy"."""
        from jax.sharding import Mesh, NamedSharding

        return NamedSharding(Mesh(np.array(self.devices), ("part", "copy")), self.spec)


Box = tuple[tuple[int, int], ...]  # first index and first one after, of each dimension


def boxes_of(value: JaxArray) -> dict[Box, list[Device]]:
    """Map the parts of an array to the devices that have them."""
    found: dict[Box, list[Device]] = {}
    for device, index in value.sharding.devices_indices_map(value.shape).items():
        bounds = zip(index, value.shape, strict=True)
        found.setdefault(tuple(one.indices(end)[:2] for one, end in bounds), []).append(device)
    return {
        box: sorted(devices, key=lambda one: (one.process_index, one.id))
        for box, devices in found.items()
    }


def cut_dimensions(shape: tuple[int, ...], boxes: Iterable[Box]) -> list[int]:
    """Return the dimensions along which an array is cut into these parts."""
    boxes = list(boxes)
    return [n for n, end in enumerate(shape) if any(box[n] != (0, end) for box in boxes)]


def layout_of(value: JaxArray) -> Layout | None:
    """Return the layout of a sharded array; None if it is not cut along exactly one dimension."""
    devices_of = boxes_of(value)
    cut = cut_dimensions(value.shape, devices_of)
    if len(cut) != 1:
        return None
    devices = tuple(tuple(devices_of[box]) for box in sorted(devices_of))
    return Layout(value.shape, np.dtype(value.dtype), cut[0], devices)


def placed(sharding: NamedSharding, arrays: Mapping[tuple[int, ...], JaxArray]) -> JaxArray:
    """Return an array made of the parts that each device has of its own array.

    The arrays are given for each place of the mesh, and are cut alike. JAX takes copies for equal,
    but a program that on_each_device makes reads each device's own part.
    """
    import jax

    blocks: dict[int, dict[Device, JaxArray]] = {}
    own = []
    for place, device in np.ndenumerate(sharding.mesh.devices):
        array = arrays[place]
        if id(array) not in blocks:
            blocks[id(array)] = {one.device: one.data for one in array.addressable_shards}
        if device in blocks[id(array)]:
            own.append(blocks[id(array)][device])
    shape = next(iter(arrays.values())).shape
    return jax.make_array_from_single_device_arrays(shape, sharding, own)
