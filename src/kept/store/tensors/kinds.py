"""The kinds of elements, and how their stored bytes become arrays of NumPy.

NumPy has no bfloat16 and no float8, so kept reads them as float32, which holds all their values.
HDF5 and .npy files do not say what such bytes are: Keras writes an attribute for bfloat16 only. So
2 opaque bytes are read as bfloat16, and 1 as float8_e4m3fn, the only float8 that h5py writes so.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_OPAQUE = {1: "float8_e4m3fn", 2: "bfloat16"}
_PACKED = {"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}  # with their widths in bytes
_NUMBERS = "biufc"  # kinds of NumPy's types


def name_of(dtype: np.dtype[Any]) -> str | None:
    """Return the name of a type of numbers; None for texts, references and records."""
    if dtype.kind in _NUMBERS:
        return str(dtype.name)
    if dtype.kind == "V" and dtype.fields is None and dtype.subdtype is None:
        return _OPAQUE.get(dtype.itemsize)
    return None


@functools.cache
def width_of(name: str) -> int:
    """Return the bytes of an element."""
    if name in _PACKED:
        return _PACKED[name]
    import numpy as np

    return np.dtype(name).itemsize


def is_floating(name: str) -> bool:
    """Return whether values of this type can be NaN."""
    return name.startswith(("float", "bfloat", "complex"))


def decoded(data: Any, name: str, *, is_big_endian: bool = False) -> np.ndarray[Any, Any]:
    """Return the elements in some bytes, one after the other."""
    import numpy as np

    if name not in _PACKED:
        kind = np.dtype(name).newbyteorder(">" if is_big_endian else "<")
        return np.frombuffer(data, kind)
    return widened(np.frombuffer(data, "<u2" if _PACKED[name] == 2 else "u1"), name)


def widened(raw: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """Return the float32 values of elements that NumPy has no type for."""
    import numpy as np

    if name == "bfloat16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    if name == "float8_e5m2":  # the upper half of a float16
        return (raw.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    return np.take(_e4m3fn(), raw)


def from_dataset(found: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """Return values that h5py has read, one after the other."""
    if name not in _PACKED:
        return found.reshape(-1)
    raw = found.reshape(-1).view("<u2" if _PACKED[name] == 2 else "u1")
    return widened(raw, name)


@functools.cache
def _e4m3fn() -> np.ndarray[Any, Any]:
    """Return the value of each of the 256 patterns of float8_e4m3fn, which has no infinity."""
    import numpy as np

    pattern = np.arange(256)
    exponent, mantissa = pattern >> 3 & 15, pattern & 7
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7.0)
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, normal)
    value[pattern & 127 == 127] = np.nan
    return np.where(pattern >> 7, -value, value).astype(np.float32)
