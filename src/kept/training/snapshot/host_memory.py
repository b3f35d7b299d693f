"""Memory for large arrays, directly from the operating system."""

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
    """Return an array; the memory of a large one is not touched."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, buffer=empty_memory(size))


def empty_memory(size: int) -> mmap.mmap:
    """Return size bytes of memory that is not touched yet; size is 1 or more.

    malloc would take it from the free blocks of its heap. The training step needs those for its
    gradients. Without them its memory returns to the system after every step, and is new in the
    next: beside such buffers, a step of torch on 2 cores took 0.24 s instead of 0.13 s.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # the kernel has no huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)  # first writes take far fewer page faults
    return memory
