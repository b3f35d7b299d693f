"""Cuts an array, cut along two dimensions, along one, by one all-to-all.

XLA can do it, too, but by a copy of the whole array on every device.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.training.snapshot.devices.layout import Layout, boxes_of, cut_dimensions, placed
from kept.training.snapshot.devices.programs import bits, on_each_device

if TYPE_CHECKING:
    from jax.sharding import Mesh, PartitionSpec

    from kept.training.snapshot.devices.layout import JaxArray


def along_one_dimension(array: JaxArray) -> tuple[Layout, JaxArray] | None:
    """Return an array that is cut along two dimensions, cut along one; None if it is not."""
    from jax.sharding import Mesh

    devices_of = boxes_of(array)
    cut = cut_dimensions(array.shape, devices_of)
    if len(cut) != 2:
        return None
    counts = [len({box[n][0] for box in devices_of}) for n in cut]
    if math.prod(counts) != len(devices_of):
        return None
    grid = np.array([devices_of[box] for box in sorted(devices_of)]).reshape(*counts, -1)
    for is_second, (given_up, kept) in enumerate((cut, cut[::-1])):
        if array.shape[kept] % len(devices_of) == 0:
            # The dimension that stays cut is cut further, by the parts of the other one.
            parts = grid if is_second else np.swapaxes(grid, 0, 1)
            devices = tuple(map(tuple, parts.reshape(-1, grid.shape[2])))
            layout = Layout(array.shape, np.dtype(array.dtype), kept, devices)
            mesh = Mesh(parts, ("kept", "given up", "copy"))
            return layout, _joined(array, mesh, kept, given_up)
    return None


def _joined(array: JaxArray, mesh: Mesh, kept: int, given_up: int) -> JaxArray:
    """Return an array whose dimension `given_up` is no longer cut, and `kept` is cut further."""
    from jax.sharding import NamedSharding

    spec = _spec(array.ndim, {kept: "kept", given_up: "given up"})
    grid = dict.fromkeys(np.ndindex(mesh.devices.shape), array)
    same = placed(NamedSharding(mesh, spec), grid)
    return _join(mesh, array.ndim, kept, given_up)(same)


@functools.lru_cache(maxsize=256)
def _join(mesh: Mesh, dimensions: int, kept: int, given_up: int) -> Any:
    import jax
    from jax import lax

    def join(block: JaxArray) -> JaxArray:
        cut = {"split_axis": kept, "concat_axis": given_up}
        return lax.all_to_all(bits(block), "given up", **cut, tiled=True)

    before = _spec(dimensions, {kept: "kept", given_up: "given up"})
    after = _spec(dimensions, {kept: ("kept", "given up")})
    return jax.jit(on_each_device(join, mesh, (before,), after))


def _spec(dimensions: int, axes: dict[int, Any]) -> PartitionSpec:
    from jax.sharding import PartitionSpec

    return PartitionSpec(*[axes.get(n) for n in range(dimensions)])
