"""Copies values of variables to host memory, on TensorFlow, JAX and torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kept.training.snapshot.copying import LARGE, copy_arrays
from kept.training.snapshot.host_memory import empty_array, empty_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch

    from kept.training.snapshot.copying import Pair

Variable = Any  # keras.Variable; its value is a tensor of the framework
HostBuffer = Any  # a HostArray, or a torch tensor in host memory


class HostArray(np.ndarray[Any, Any]):
    """A NumPy array that Keras can use like a TensorFlow tensor, because it has numpy()."""

    def numpy(self) -> HostArray:
        """Return the array itself."""
        return self


class Framework(Protocol):
    """How to copy a framework's values to host memory."""

    def empty(self, variable: Variable) -> HostBuffer:
        """Return a buffer of the variable's shape and type, without touching its memory."""

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        """Return whether the buffer has the variable's shape and type."""

    def copy(self, pairs: Iterable[tuple[Variable, HostBuffer]]) -> None:
        """Copy values of variables into buffers that fit; return when all are complete."""

    def memory(self, buffer: HostBuffer) -> memoryview:
        """Return the buffer's memory, read-only."""

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        """Return the buffer as an array without a copy, None if NumPy lacks its type."""


class _Jax:
    """NumPy can use arrays of JAX in host memory without a copy."""

    def empty(self, variable: Variable) -> HostBuffer:
        return empty_array(variable.value.shape, variable.value.dtype).view(HostArray)

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        value = variable.value
        return bool(buffer.shape == tuple(value.shape) and buffer.dtype == value.dtype)

    def copy(self, pairs: Iterable[tuple[Variable, HostBuffer]]) -> None:
        # The training step donates its arrays, so keeping a reference to one is not enough.
        copy_arrays(part for variable, buffer in pairs for part in self._parts(variable, buffer))

    def memory(self, buffer: HostBuffer) -> memoryview:
        return memoryview(buffer.reshape(-1).view(np.uint8)).toreadonly()

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        array: np.ndarray[Any, Any] = buffer.view(np.ndarray)
        return array if array.dtype.isbuiltin == 1 else None  # bfloat16 is 2: not NumPy's

    def _parts(self, variable: Variable, buffer: HostBuffer) -> Iterator[Pair]:
        """Yield parts of the buffer with their values, which are views if they are on the host."""
        value = variable.value
        if getattr(value, "is_fully_replicated", True) or not value.is_fully_addressable:
            yield buffer, np.asarray(value)
            return
        # Shard by shard, because JAX would join them in new memory, and keep that with the array.
        for shard in value.addressable_shards:
            if shard.replica_id == 0:
                yield buffer[shard.index], np.asarray(shard.data)


class _TensorFlow(_Jax):
    def empty(self, variable: Variable) -> HostBuffer:
        value = variable.value
        return empty_array(tuple(value.shape), value.dtype.as_numpy_dtype).view(HostArray)

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        value = variable.value
        return bool(
            buffer.shape == tuple(value.shape) and buffer.dtype == value.dtype.as_numpy_dtype
        )

    def _parts(self, variable: Variable, buffer: HostBuffer) -> Iterator[Pair]:
        import tensorflow as tf

        yield buffer, np.asarray(tf.convert_to_tensor(variable.value))  # numpy() would copy


class _Torch:
    def empty(self, variable: Variable) -> HostBuffer:
        import torch

        value: torch.Tensor = variable.value
        if value.is_cpu and value.nbytes >= LARGE:
            return torch.frombuffer(empty_memory(value.nbytes), dtype=value.dtype).view(value.shape)
        # Copies from an accelerator are fast into pinned memory only.
        return torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        value = variable.value  # read once, because Keras is slow to return it
        return bool(buffer.shape == value.shape and buffer.dtype == value.dtype)

    def copy(self, pairs: Iterable[tuple[Variable, HostBuffer]]) -> None:
        import torch

        large: list[Pair] = []
        devices: set[torch.device] = set()
        for variable, buffer in pairs:
            value: torch.Tensor = variable.value.detach()
            if value.is_cpu and value.nbytes >= LARGE and value.is_contiguous():
                large.append((_bytes(buffer), _bytes(value)))
                continue
            buffer.copy_(value, non_blocking=value.is_cuda)
            if value.is_cuda:
                devices.add(value.device)
        copy_arrays(large)
        for device in devices:  # without an argument it waits for the current device only
            torch.cuda.synchronize(device)

    def memory(self, buffer: HostBuffer) -> memoryview:
        return _bytes(buffer).data.toreadonly()

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        try:
            array: np.ndarray[Any, Any] = buffer.numpy()
        except TypeError:  # bfloat16 and float8
            return None
        return array


def _bytes(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return the memory of a contiguous tensor on the host as bytes; NumPy lacks some types."""
    import torch

    array: np.ndarray[Any, Any] = tensor.reshape(-1).view(torch.uint8).numpy()
    return array


def framework(name: str) -> Framework:
    """Return the framework with the name that Keras gives it."""
    known: dict[str, Framework] = {"jax": _Jax(), "tensorflow": _TensorFlow(), "torch": _Torch()}
    return known[name]
