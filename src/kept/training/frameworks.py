"""What differs between TensorFlow, JAX and torch: copying a variable's value to the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

Variable = Any  # keras.Variable; its value is a tensor of the framework
HostBuffer = Any  # a HostArray, or a torch tensor in host memory


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

    def copy(self, variable: Variable, buffer: HostBuffer) -> None:
        """Copy the variable's value into a buffer that fits."""

    def wait(self) -> None:
        """Return when all copies have arrived."""

    def memory(self, buffer: HostBuffer) -> memoryview:
        """Return the buffer's own bytes, for reading."""

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        """Return the buffer as an array without a copy, None if NumPy lacks its type."""


class _NumPy:
    """JAX: its arrays in host memory are NumPy arrays without a copy."""

    def empty(self, variable: Variable) -> HostBuffer:
        return np.empty(variable.value.shape, variable.value.dtype).view(HostArray)

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        value = variable.value
        return bool(buffer.shape == tuple(value.shape) and buffer.dtype == value.dtype)

    def copy(self, variable: Variable, buffer: HostBuffer) -> None:
        # The training step gives its arrays away (donation), so holding on to one is not enough.
        np.copyto(buffer, np.asarray(variable.value))

    def wait(self) -> None:
        pass

    def memory(self, buffer: HostBuffer) -> memoryview:
        return memoryview(buffer.reshape(-1).view(np.uint8)).toreadonly()

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        array: np.ndarray[Any, Any] = buffer.view(np.ndarray)
        return array if array.dtype.isbuiltin == 1 else None  # bfloat16 is 2: somebody else's


class _TensorFlow(_NumPy):
    def empty(self, variable: Variable) -> HostBuffer:
        value = variable.value
        return np.empty(tuple(value.shape), value.dtype.as_numpy_dtype).view(HostArray)

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        value = variable.value
        return bool(
            buffer.shape == tuple(value.shape) and buffer.dtype == value.dtype.as_numpy_dtype
        )

    def copy(self, variable: Variable, buffer: HostBuffer) -> None:
        import tensorflow as tf

        tensor = tf.convert_to_tensor(variable.value)
        try:
            view = np.asarray(memoryview(tensor))  # numpy() would make a copy of its own
        except (BufferError, TypeError, ValueError):  # bfloat16 and float8 have no buffer format
            view = tensor.numpy()
        np.copyto(buffer, view)


class _Torch:
    def empty(self, variable: Variable) -> HostBuffer:
        import torch

        value: torch.Tensor = variable.value
        # Copies from an accelerator run at full speed into pinned memory only.
        return torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)

    def fits(self, variable: Variable, buffer: HostBuffer) -> bool:
        return bool(buffer.shape == variable.value.shape and buffer.dtype == variable.value.dtype)

    def copy(self, variable: Variable, buffer: HostBuffer) -> None:
        value: torch.Tensor = variable.value.detach()
        buffer.copy_(value, non_blocking=value.is_cuda)

    def wait(self) -> None:
        import torch

        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()

    def memory(self, buffer: HostBuffer) -> memoryview:
        import torch

        return memoryview(buffer.reshape(-1).view(torch.uint8).numpy()).toreadonly()

    def array(self, buffer: HostBuffer) -> np.ndarray[Any, Any] | None:
        try:
            array: np.ndarray[Any, Any] = buffer.numpy()
        except TypeError:  # bfloat16 and float8
            return None
        return array


def framework(name: str) -> Framework:
    """Return the framework of the name that Keras has for it."""
    known: dict[str, Framework] = {"jax": _NumPy(), "tensorflow": _TensorFlow(), "torch": _Torch()}
    return known[name]
