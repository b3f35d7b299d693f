"""Copies values of variables to host memory, on TensorFlow, JAX and torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kept.training.snapshot.copying import LARGE, copy_arrays
from kept.training.snapshot.host_memory import empty_array, empty_memory, virtual_array
from kept.training.snapshot.pinned import NoPinnedMemory, is_on_accelerator, to_pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import torch

    from kept.training.snapshot.copying import Pair as ArrayPair
    from kept.training.snapshot.pinned import JaxArray

Variable = Any  # keras.Variable; its value is a tensor of the framework
HostBuffer = Any  # a HostArray, or a torch tensor in host memory
Pair = tuple[Variable, HostBuffer]

ACROSS_PROCESSES = "jax across processes"


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

    def touch(self, buffer: HostBuffer) -> None:
        """Write to a buffer, unless its memory is in use already."""

    def copy(self, pairs: list[Pair]) -> list[HostBuffer]:
        """Return the buffers with copies of the values, when all are complete.

        They are the given ones, which fit, or new ones. It takes over the list with the buffers, so
        that those without further use are gone before it makes new ones.
        """

    def memory(self, buffer: HostBuffer) -> memoryview:
        """Return the buffer's memory, read-only."""

    def joined(self, buffers: list[HostBuffer]) -> np.ndarray[Any, Any]:
        """Return the bytes of buffers of one type, one after the other in new memory."""

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        """Return the buffer as an array without a copy, None if NumPy lacks its type."""


class _InNumPy:
    """NumPy can use the framework's values in host memory without a copy."""

    def empty(self, variable: Variable) -> HostBuffer:
        return empty_array(tuple(variable.value.shape), self._dtype(variable)).view(HostArray)

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        shape = tuple(variable.value.shape)
        return bool(buffer.shape == shape and buffer.dtype == self._dtype(variable))

    def touch(self, buffer: HostBuffer) -> None:
        if buffer.flags.writeable:
            buffer[...] = 0

    def copy(self, pairs: list[Pair]) -> list[HostBuffer]:
        filled = (pair for pair in pairs if pair[1] is not None)
        copy_arrays(part for pair in filled for part in self._parts(*pair))
        return [buffer for _, buffer in pairs]

    def memory(self, buffer: HostBuffer) -> memoryview:
        return memoryview(buffer.reshape(-1).view(np.uint8)).toreadonly()

    def joined(self, buffers: list[HostBuffer]) -> np.ndarray[Any, Any]:
        return np.concatenate(buffers, axis=None).view(np.uint8)

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        array: np.ndarray[Any, Any] = buffer.view(np.ndarray)
        return array if array.dtype.isbuiltin == 1 else None  # bfloat16 is 2: not NumPy's

    def _dtype(self, variable: Variable) -> npt.DTypeLike:
        """Return NumPy's type of the variable's elements."""
        raise NotImplementedError

    def _parts(self, variable: Variable, buffer: HostBuffer) -> Iterator[ArrayPair]:
        """Yield parts of the buffer with their values, which are views if they are on the host."""
        raise NotImplementedError


class _Jax(_InNumPy):
    # The training step donates its arrays, so keeping a reference to one is not enough.

    def __init__(self) -> None:
        self._pins = True  # until no pinned memory is left

    def empty(self, variable: Variable) -> HostBuffer:
        if self._is_pinnable(variable):  # to have the memory pinned before the first save
            return self.copy([(variable, None)])[0]
        return super().empty(variable)

    def copy(self, pairs: list[Pair]) -> list[HostBuffer]:
        pinned = {n for n, (variable, _) in enumerate(pairs) if self._is_pinnable(variable)}
        for n in range(len(pairs)):  # no name may hold a buffer
            variable = pairs[n][0]
            if n in pinned:
                pairs[n] = variable, None  # XLA takes new pinned memory, from what is free
            elif not pairs[n][1].flags.writeable:  # pinned before, and there is none left now
                pairs[n] = variable, super().empty(variable)
        try:
            copies = to_pinned([pairs[n][0].value.addressable_data(0) for n in pinned])
        except NoPinnedMemory:
            self._pins = False
            for n in pinned:
                pairs[n] = pairs[n][0], super().empty(pairs[n][0])
            return super().copy(pairs)
        buffers = super().copy(pairs)
        for n, copy in zip(pinned, copies, strict=True):
            buffers[n] = copy.view(HostArray)
        return buffers

    def _dtype(self, variable: Variable) -> npt.DTypeLike:
        dtype: npt.DTypeLike = variable.value.dtype
        return dtype

    def _is_pinnable(self, variable: Variable) -> bool:
        """Return whether the whole value lies on one accelerator, or on each of several."""
        value = variable.value
        is_whole = getattr(value, "is_fully_replicated", False)
        return self._pins and is_whole and is_on_accelerator(value)

    def _parts(self, variable: Variable, buffer: HostBuffer) -> Iterator[ArrayPair]:
        value = variable.value
        if getattr(value, "is_fully_replicated", True) or not value.is_fully_addressable:
            yield buffer, np.asarray(value)
            return
        # Shard by shard, because JAX would join them in new memory, and keep that with the array.
        shards = [shard for shard in value.addressable_shards if shard.replica_id == 0]
        arrays = self._on_host([shard.data for shard in shards])
        for shard, array in zip(shards, arrays, strict=True):
            yield buffer[shard.index], array

    def _on_host(self, arrays: list[JaxArray]) -> list[np.ndarray[Any, Any]]:
        if self._pins and all(map(is_on_accelerator, arrays)):
            try:
                return to_pinned(arrays)
            except NoPinnedMemory:
                self._pins = False
        return [np.asarray(array) for array in arrays]


class _JaxAcrossProcesses(_Jax):
    """Buffers of the whole values, of which only the parts that are written take memory."""

    def empty(self, variable: Variable) -> HostBuffer:
        return virtual_array(tuple(variable.value.shape), self._dtype(variable)).view(HostArray)


class _TensorFlow(_InNumPy):
    def _dtype(self, variable: Variable) -> npt.DTypeLike:
        dtype: npt.DTypeLike = variable.value.dtype.as_numpy_dtype
        return dtype

    def _parts(self, variable: Variable, buffer: HostBuffer) -> Iterator[ArrayPair]:
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

    def touch(self, buffer: HostBuffer) -> None:
        buffer[...] = 0

    def copy(self, pairs: list[Pair]) -> list[HostBuffer]:
        import torch

        large: list[ArrayPair] = []
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
        return [buffer for _, buffer in pairs]

    def memory(self, buffer: HostBuffer) -> memoryview:
        return _bytes(buffer).data.toreadonly()

    def joined(self, buffers: list[HostBuffer]) -> np.ndarray[Any, Any]:
        import torch

        try:  # a third of the time that torch takes
            arrays = [buffer.numpy() for buffer in buffers]
        except TypeError:  # bfloat16
            return _bytes(torch.cat([buffer.reshape(-1) for buffer in buffers]))
        return np.concatenate(arrays, axis=None).view(np.uint8)

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
    """Return the framework with the name that Keras gives it, or ACROSS_PROCESSES."""
    known: dict[str, Framework] = {
        "jax": _Jax(),
        ACROSS_PROCESSES: _JaxAcrossProcesses(),
        "tensorflow": _TensorFlow(),
        "torch": _Torch(),
    }
    return known[name]
