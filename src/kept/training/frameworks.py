"""What differs between TensorFlow, JAX and torch: copying a variable's value to the host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kept.bucket.parallel import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch

_PIECE = 8 * 1024 * 1024  # bytes that one thread copies at a time
_AT_ONCE = 32  # pieces; their arrays are copies themselves where they come from an accelerator
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# More do not make memory faster. One more than there are cores, since JAX's own threads keep one of
# them for some milliseconds after a step: on 2 cores, three take 0.93 times as long as two.
_THREADS = min(_CORES + 1, 4)

Variable = Any  # keras.Variable; its value is a tensor of the framework
HostBuffer = Any  # a HostArray, or a torch tensor in host memory
_Pair = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]  # target and source, of the same shape


class HostArray(np.ndarray[Any, Any]):
    """A NumPy array that can stand for a TensorFlow tensor: Keras asks those for numpy()."""

    def numpy(self) -> HostArray:
        """Return the array itself."""
        return self


class Framework(Protocol):
    """How a framework's values come to the host."""

    def empty(self, variable: Variable) -> HostBuffer:
        """Return a buffer of the variable's shape and type, its memory not touched yet."""

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        """Return whether the buffer has the variable's shape and type."""

    def copy(self, pairs: Iterable[tuple[Variable, HostBuffer]]) -> None:
        """Copy values of variables into buffers that fit; return when all have arrived."""

    def memory(self, buffer: HostBuffer) -> memoryview:
        """Return the buffer's own bytes, for reading."""

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        """Return the buffer as an array without a copy, None if NumPy lacks its type."""


class _Jax:
    """Its arrays in host memory are NumPy arrays without a copy."""

    def empty(self, variable: Variable) -> HostBuffer:
        return np.empty(variable.value.shape, variable.value.dtype).view(HostArray)

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        value = variable.value
        return bool(buffer.shape == tuple(value.shape) and buffer.dtype == value.dtype)

    def copy(self, pairs: Iterable[tuple[Variable, HostBuffer]]) -> None:
        # The training step gives its arrays away (donation), so holding on to one is not enough.
        copy_arrays(part for variable, buffer in pairs for part in self._parts(variable, buffer))

    def memory(self, buffer: HostBuffer) -> memoryview:
        return memoryview(buffer.reshape(-1).view(np.uint8)).toreadonly()

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        array: np.ndarray[Any, Any] = buffer.view(np.ndarray)
        return array if array.dtype.isbuiltin == 1 else None  # bfloat16 is 2: somebody else's

    def _parts(self, variable: Variable, buffer: HostBuffer) -> Iterator[_Pair]:
        """Yield parts of the buffer with their values, seen in place where that is the host."""
        value = variable.value
        if getattr(value, "is_fully_replicated", True) or not value.is_fully_addressable:
            yield buffer, np.asarray(value)
            return
        for shard in value.addressable_shards:  # JAX would put them together in new memory, and
            if shard.replica_id == 0:  # keep that as long as the array lives
                yield buffer[shard.index], np.asarray(shard.data)


class _TensorFlow(_Jax):
    def empty(self, variable: Variable) -> HostBuffer:
        value = variable.value
        return np.empty(tuple(value.shape), value.dtype.as_numpy_dtype).view(HostArray)

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        value = variable.value
        return bool(
            buffer.shape == tuple(value.shape) and buffer.dtype == value.dtype.as_numpy_dtype
        )

    def _parts(self, variable: Variable, buffer: HostBuffer) -> Iterator[_Pair]:
        import tensorflow as tf

        yield buffer, np.asarray(tf.convert_to_tensor(variable.value))  # its numpy() would copy


class _Torch:
    def empty(self, variable: Variable) -> HostBuffer:
        import torch

        value: torch.Tensor = variable.value
        # Copies from an accelerator run at full speed into pinned memory only.
        return torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        value = variable.value  # Keras takes its time over that
        return bool(buffer.shape == value.shape and buffer.dtype == value.dtype)

    def copy(self, pairs: Iterable[tuple[Variable, HostBuffer]]) -> None:
        import torch

        devices: set[torch.device] = set()
        for variable, buffer in pairs:  # large ones with several threads, as torch does it
            value: torch.Tensor = variable.value.detach()
            buffer.copy_(value, non_blocking=value.is_cuda)
            if value.is_cuda:
                devices.add(value.device)
        for device in devices:  # without one, only the current device would be waited for
            torch.cuda.synchronize(device)

    def memory(self, buffer: HostBuffer) -> memoryview:
        import torch

        return memoryview(buffer.reshape(-1).view(torch.uint8).numpy()).toreadonly()

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        try:
            array: np.ndarray[Any, Any] = buffer.numpy()
        except TypeError:  # bfloat16 and float8
            return None
        return array


def copy_arrays(pairs: Iterable[_Pair]) -> None:
    """Copy arrays, (target, source) of the same shape and type; large ones with several threads.

    One core does not fill the memory bus, and in a hook the others have nothing to do: measured on
    2 cores, in saves of 300 MB, two threads take 0.65 times as long as one.
    """
    pieces: list[_Pair] = []
    for target, source in pairs:
        is_flat = target.flags.c_contiguous and source.flags.c_contiguous
        if target.nbytes < _PIECE or not is_flat:
            np.copyto(target, source)
        else:
            pieces += _pieces(target, source)
        if len(pieces) >= _AT_ONCE:
            _copy_pieces(pieces)
            pieces = []
    if pieces:
        _copy_pieces(pieces)


def _copy_pieces(pieces: list[_Pair]) -> None:
    in_threads(lambda piece: np.copyto(*piece), pieces, _THREADS)


def _pieces(target: np.ndarray[Any, Any], source: np.ndarray[Any, Any]) -> Iterator[_Pair]:
    """Yield parts of two arrays that lie in one piece each."""
    flat, other = target.reshape(-1), source.reshape(-1)
    step = _PIECE // target.itemsize
    for start in range(0, flat.size, step):
        yield flat[start : start + step], other[start : start + step]


def framework(name: str) -> Framework:
    """Return the framework of the name that Keras has for it."""
    known: dict[str, Framework] = {"jax": _Jax(), "tensorflow": _TensorFlow(), "torch": _Torch()}
    return known[name]
