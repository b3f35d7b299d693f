"""Reads a box of an array out of a file that has the array's bytes in one range."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from kept.store.content.ranged_file import RangedFile
    from kept.training.snapshot.devices.layout import Box

_BLOCK = 4 * 1024 * 1024  # bytes that are read at a time


class Stored(NamedTuple):
    """An array in a file."""

    file: RangedFile
    start: int  # its first byte
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def read_box(stored: Stored, box: Box) -> np.ndarray[Any, Any]:
    """Return the elements in a box, in new memory; raises Damaged.

    It takes no memory for others, except for the chunks that the file keeps.
    """
    found = np.empty([last - first for first, last in box], stored.dtype)
    if found.size:
        _fill(found, stored, box)
    return found


def _fill(found: np.ndarray[Any, Any], stored: Stored, box: Box) -> None:
    shape, rest = stored.shape, box[1:]
    if not shape or all(bounds == (0, end) for bounds, end in zip(rest, shape[1:], strict=True)):
        inner = stored.dtype.itemsize * math.prod(shape[1:])
        start = stored.start + (box[0][0] * inner if shape else 0)
        _read_into(found, stored, start)
        return
    inner = stored.dtype.itemsize * math.prod(shape[1:])
    (first, last), inside = box[0], tuple(slice(*bounds) for bounds in rest)
    if inner > _BLOCK:
        for n in range(first, last):
            below = stored._replace(start=stored.start + n * inner, shape=shape[1:])
            _fill(found[n - first], below, rest)
        return
    rows = max(_BLOCK // inner, 1)
    for n in range(first, last, rows):
        block = np.empty((min(rows, last - n), *shape[1:]), stored.dtype)
        _read_into(block, stored, stored.start + n * inner)
        found[n - first : n - first + len(block)] = block[(slice(None), *inside)]


def _read_into(array: np.ndarray[Any, Any], stored: Stored, start: int) -> None:
    """Fill a contiguous array with the bytes from a place in the file."""
    target, here = array.reshape(-1).view(np.uint8), 0
    for part in stored.file.parts(start, start + target.size):
        target[here : here + len(part)] = np.frombuffer(part, np.uint8)
        here += len(part)
    if here < target.size:
        raise EOFError(f"expected {target.size} bytes, found {here}")
