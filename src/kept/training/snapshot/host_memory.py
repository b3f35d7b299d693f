"""Memory for large arrays, straight from the system."""

from __future__ import annotations

import contextlib
import math
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.training.snapshot.copying import LARGE

if TYPE_CHECKING:
    import numpy.typing as npt


def empty_array(shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray[Any, Any]:
    """Return an array, without touching its memory where it is large."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, buffer=empty_memory(size))


def empty_memory(size: int) -> mmap.mmap:
    """Return so many bytes of memory, more than none, not touched yet.

    malloc would fill the holes in its heap with it, where the training step finds room for its
    gradients. Without them that memory goes back to the system after every step, and is new in
    the next: a step of torch on 2 cores took 0.24 s instead of 0.13 s beside such buffers.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)  # first writes take far fewer page faults
    return memory
