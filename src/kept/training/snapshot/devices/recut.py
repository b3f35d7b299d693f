"""Cuts sharded arrays along another dimension, by one all-to-all; no device gets all of an array.

XLA can do it, too. But it does some of these by a copy of the whole array on every device.
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


def along_columns(layout: Layout, array: JaxArray) -> tuple[Layout, JaxArray] | None:
    """Return an array as a table that is cut along its columns; None if they do not divide."""
    shape = _table(layout)
    if shape is None:
        return None
    table = _to_columns(layout, shape)(placed(layout.sharding, [array]))
    return layout._replace(shape=shape[1:], dimension=1), table


def _table(layout: Layout) -> tuple[int, int, int] | None:
    """Return the number of blocks of rows, all rows, and columns, of which each device gets some.

    A device has a part of the rows of each block.
    """
    length, parts = layout.shape[layout.dimension], layout.parts
    rest = layout.row // length
    if rest % parts == 0:
        return layout.rows, layout.rows * length, rest
    if layout.rows == 1 and layout.row % (parts * parts) == 0:
        return 1, layout.row // parts, parts
    return None


@functools.lru_cache(maxsize=256)
def _to_columns(layout: Layout, shape: tuple[int, int, int]) -> Any:
    import jax
    from jax import lax
    from jax.sharding import PartitionSpec

    blocks, rows, columns = shape

    def move(block: JaxArray) -> JaxArray:
        table = bits(block).reshape(blocks, rows // blocks // layout.parts, columns)
        moved = lax.all_to_all(table, "part", split_axis=2, concat_axis=1, tiled=True)
        return moved.reshape(rows, columns // layout.parts)

    specs, out = (layout.spec,), PartitionSpec(None, "part")
    return jax.jit(on_each_device(move, layout.sharding.mesh, specs, out))


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
    for axis, (given_up, kept) in enumerate((cut, cut[::-1])):
        if array.shape[kept] % len(devices_of) == 0:
            # The dimension that stays cut is cut further, by the parts of the other one.
            parts = np.swapaxes(grid, 0, 1) if axis == 0 else grid
            devices = tuple(map(tuple, parts.reshape(-1, grid.shape[2])))
            layout = Layout(array.shape, np.dtype(array.dtype), kept, devices)
            mesh = Mesh(parts, ("kept", "given up", "copy"))
            return layout, _joined(array, mesh, kept, given_up)
    return None


def _joined(array: JaxArray, mesh: Mesh, kept: int, given_up: int) -> JaxArray:
    """Return an array whose dimension `given_up` is no longer cut, and `kept` is cut further."""
    from jax.sharding import NamedSharding

    spec = _spec(array.ndim, {kept: "kept", given_up: "given up"})
    sharding = NamedSharding(mesh, spec)
    return _join(mesh, array.ndim, kept, given_up)(placed(sharding, [array]))


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
