"""Copies arrays of JAX from an accelerator into pinned host memory, all at once.

The driver moves pinned memory at the speed of the bus, and all arrays in one go. np.asarray copies
through pageable memory, one array after the other, and keeps that copy with the array. Measured
with 1.5 GB of a Keras model on an H200: 29 ms instead of 1,140 ms.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

KIND = "pinned_host"
JaxArray = Any


class NoPinnedMemory(Exception):
    """XLA has no pinned memory left: it takes 64 GB, or XLA_PJRT_GPU_HOST_MEMORY_LIMIT_GB."""


def is_on_accelerator(array: JaxArray) -> bool:
    """Return whether an array lies in a device's own memory, and can go to pinned memory."""
    sharding = getattr(array, "sharding", None)
    if sharding is None or sharding.memory_kind == KIND:
        return False
    devices = sharding.addressable_devices
    return all(
        device.platform != "cpu" and any(m.kind == KIND for m in device.addressable_memories())
        for device in devices
    )


def to_pinned(arrays: Sequence[JaxArray]) -> list[np.ndarray[Any, Any]]:
    """Return read-only views of copies in pinned memory, once all are complete.

    Each array must lie on one device. The views keep the memory; when they go, XLA uses it again.
    Raises NoPinnedMemory.
    """
    import jax

    to = [array.sharding.with_memory_kind(KIND) for array in arrays]
    try:
        copies = jax.block_until_ready(jax.device_put(list(arrays), to))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise NoPinnedMemory from error
    return [np.asarray(copy) for copy in copies]


def on_host(arrays: Sequence[JaxArray]) -> list[np.ndarray[Any, Any]]:
    """Return the values of whole arrays: in pinned memory, or where they are in host memory."""
    local = [array.addressable_data(0) for array in arrays]
    if local and all(map(is_on_accelerator, local)):
        with contextlib.suppress(NoPinnedMemory):
            return to_pinned(local)
    return [np.asarray(array) for array in local]
