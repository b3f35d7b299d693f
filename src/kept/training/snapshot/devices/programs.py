"""Programs that all processes run on their devices together, and the range of a local array."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from kept.training.snapshot.devices.layout import Device, JaxArray


def on_each_device(function: Any, mesh: Mesh, specs: Any, out: Any) -> Any:
    """Return the function, on all devices, each with its own parts of the arguments."""
    import jax

    options = {"mesh": mesh, "in_specs": specs, "out_specs": out}
    if hasattr(jax, "shard_map"):
        return jax.shard_map(function, check_vma=False, **options)
    from jax.experimental.shard_map import shard_map

    return shard_map(function, check_rep=False, **options)


def bits(block: JaxArray) -> JaxArray:
    """Return floats as integers of the same bits, because XLA may change those of a NaN."""
    from jax import lax
    from jax import numpy as jnp

    if not jnp.issubdtype(block.dtype, jnp.floating):
        return block
    return lax.bitcast_convert_type(block, np.dtype(f"uint{8 * block.dtype.itemsize}"))


def replicate(arrays: tuple[JaxArray, ...]) -> tuple[JaxArray, ...]:
    """Return arrays, their bits, whole on every device."""
    devices = tuple(arrays[0].sharding.devices_indices_map(arrays[0].shape))
    return _replicate(devices)(arrays)  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=16)
def _replicate(devices: tuple[Device, ...]) -> Any:
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    to = NamedSharding(Mesh(np.array(devices), ("all",)), PartitionSpec())
    return jax.jit(lambda arrays: tuple(map(bits, arrays)), out_shardings=to)


def range_of(array: JaxArray, start: int, stop: int) -> JaxArray:
    """Return a range of the elements, flat, of an array on one device; no other is copied."""
    return _range(stop - start)(array, start)


@functools.lru_cache(maxsize=256)
def _range(size: int) -> Any:
    import jax
    from jax import lax

    return jax.jit(lambda array, start: lax.dynamic_slice_in_dim(array.reshape(-1), start, size))
