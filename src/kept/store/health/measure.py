"""Sums of squares, NaN, infinities and dead units of tensors, from their bytes.

All of it runs beside the training, on the processor that the training may need. So each tensor is
read once, in blocks that lie in the processor's cache. The sum of the squares of a block is finite
only if all its values are, so NaN and infinities are counted only if it is not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    Bytes = np.ndarray[Any, np.dtype[np.uint8]]
    Array = np.ndarray[Any, Any]

_WIDTHS = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
_BLOCK = 1 << 18  # bytes
_SCALE = np.float32(2.0**112)  # from the exponents of a float32 to those of a float16
_LEAST_OF_INFINITY = 2.0**32  # the square of what an infinity or a NaN of a float16 becomes
_FEW_ROWS = 64  # that are read at once in search of a value that is not zero


def can_measure(dtype: str) -> bool:
    """Return whether the values of a type are measured: floats of 16 bits and more."""
    return dtype in _WIDTHS


class Figures(NamedTuple):
    """What the values of a tensor add up to."""

    squares: float  # their sum, not finite if a value is not
    nans: int = 0
    infinities: int = 0


def figures(data: Bytes, dtype: str) -> Figures:
    """Return the figures of one tensor; data are its bytes."""
    squares, nans, infinities = 0.0, 0, 0
    is_narrow = _WIDTHS[dtype] == 2  # and is converted, in memory that stays in the cache
    room = np.empty(min(data.size, _BLOCK) // 4 if is_narrow else 0, np.uint32)
    with np.errstate(all="ignore"):
        for start in range(0, data.size, _BLOCK):
            block = data[start : start + _BLOCK]
            found = _squares_of_pairs(block, dtype, room) if is_narrow else _square(block, dtype)
            if not math.isfinite(found):
                values = _floats(block, dtype)
                nans += int(np.isnan(values).sum())
                infinities += int(np.isinf(values).sum())
                found = float(np.square(values, dtype=np.float64).sum())
            squares += found
    return Figures(squares, nans, infinities)


def _square(block: Bytes, dtype: str) -> float:
    """Return the sum of the squares of a block; not finite if a value is not, or if it is large."""
    values = _floats(block, dtype)
    return float(np.dot(values, values))


def _squares_of_pairs(block: Bytes, dtype: str, room: Array) -> float:
    """Return the same of values of 16 bits.

    The conversions of NumPy take three times as long as these, of two values at once.
    """
    odd = block.size % 4
    found = _square(block[-odd:], dtype) if odd else 0.0
    pairs = block[: block.size - odd].view(np.uint32)
    bits = room[: pairs.size]
    values = bits.view(np.float32)
    if dtype == "bfloat16":  # the upper half of a float32
        np.left_shift(pairs, 16, out=bits)
        found += float(np.dot(values, values))
        np.bitwise_and(pairs, 0xFFFF0000, out=bits)
        return found + float(np.dot(values, values))
    # A float16 without its sign, in the place where a float32 has these bits.
    for shift, places in ((np.left_shift, 13), (np.right_shift, 3)):
        shift(pairs, places, out=bits)
        bits &= 0x0FFFE000
        values *= _SCALE
        found += float(np.dot(values, values))
    return found if found < _LEAST_OF_INFINITY else math.inf


def figures_of_many(data: Bytes, dtype: str, sizes: Array) -> tuple[Array, dict[int, Figures]]:
    """Return the sums of squares of tensors that lie one after the other in data.

    sizes has the number of values of each tensor, none of them 0. Those whose sum is not finite are
    also returned with all their figures, by their place.
    """
    ends = np.cumsum(sizes)
    starts = ends - sizes
    with np.errstate(all="ignore"):
        values = _floats(data, dtype)
        squares = np.add.reduceat(np.square(values), starts).astype(np.float64)
    width = _WIDTHS[dtype]
    wrong = {
        n: figures(data[starts[n] * width : ends[n] * width], dtype)
        for n in np.flatnonzero(~np.isfinite(squares)).tolist()
    }
    for n, found in wrong.items():
        squares[n] = found.squares
    return squares, wrong


def dead_units(data: Bytes, dtype: str, units: int) -> Array:
    """Return which units of a kernel are dead: all their weights are exactly zero.

    Units are the last axis. A row that is not zero anywhere ends the search, so this reads little
    of most kernels.
    """
    values, mask = _magnitudes(data, dtype)
    rows = values.reshape(-1, units)
    open_units = np.flatnonzero(rows[0] & mask == 0 if mask else rows[0] == 0)
    row, step = 1, 1
    while open_units.size and row < len(rows):
        block = rows[row : row + step]
        # A whole row is read faster than most of its units.
        part = block if open_units.size > units // 2 else block[:, open_units]
        is_dead = ~np.any(part & mask if mask else part, axis=0)
        open_units = open_units[is_dead[open_units] if part is block else is_dead]
        row, step = row + step, min(2 * step, _FEW_ROWS)
    return open_units


def zeros_at(data: Bytes, dtype: str, places: Array) -> Array:
    """Return which of the values at some places are zero."""
    values, mask = _magnitudes(data, dtype)
    found: Array = (values[places] & mask if mask else values[places]) == 0
    return found


def width_of(dtype: str) -> int:
    """Return the bytes of a value."""
    return _WIDTHS[dtype]


def norm(squares: Iterable[float]) -> float:
    """Return the L2 norm of all values together."""
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.sum(np.fromiter(squares, np.float64))))


def _floats(data: Bytes, dtype: str) -> Array:
    """Return values as NumPy computes with them: 32 or 64 bits wide."""
    if dtype == "bfloat16":  # the upper half of a float32
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    found: Array = data.view(dtype)
    return found.astype(np.float32) if dtype == "float16" else found


def _magnitudes(data: Bytes, dtype: str) -> tuple[Array, int]:
    """Return values that are 0 for 0.0 and -0.0 alone, after a mask of bits unless that is 0."""
    if _WIDTHS[dtype] > 2:
        return data.view(dtype), 0
    return data.view(np.uint16), 0x7FFF
