"""Values as JSON and arrays, and back; without pickle, so reading a state runs no code."""

from __future__ import annotations

import io
import math
import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.errors import Damaged

if TYPE_CHECKING:
    from collections.abc import Mapping

Arrays = dict[str, np.ndarray[Any, Any]]
_PLAIN = (str, int, bool, type(None))
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_MEMBER = re.compile(r"a[0-9]+\.npy")
_KINDS = "biufc"  # kinds of types that .npy files hold; bfloat16 and float8 are stored as integers


class Unsupported(TypeError):
    """A value that is neither plain nor an array."""


def encode(value: Any, arrays: Arrays) -> Any:
    """Return value as JSON, and add its arrays to arrays; raises Unsupported."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, list):
        return [encode(item, arrays) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [encode(item, arrays) for item in value]}
    if isinstance(value, dict):
        return {"$dict": [[encode(k, arrays), encode(v, arrays)] for k, v in value.items()]}
    return _encode_array(value, arrays)


def decode(value: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """Return the value that encode received; its arrays are NumPy's."""
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "$float":
        return _FLOATS[content]
    if kind == "$tuple":
        return tuple(decode(item, arrays) for item in content)
    if kind == "$dict":
        return {decode(k, arrays): decode(v, arrays) for k, v in content}
    array = arrays[content["name"]]
    if array.dtype.name != content["dtype"]:
        array = array.view(_dtype(content["dtype"]))
    return array[()] if content["scalar"] else array


def write_arrays(path: str, arrays: Arrays) -> None:
    """Write arrays to an .npz file; equal arrays give equal bytes."""
    with zipfile.ZipFile(path, "x") as archive:
        for name, array in arrays.items():
            # Without arguments a ZipInfo has a fixed date.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


def read_arrays(data: bytes) -> Arrays:
    """Return the arrays of an .npz file by name; raises Damaged, also for names that are paths."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            _check_names(file.zip.namelist())
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise Damaged(f"Cannot read the arrays of a state: {error}") from error


def _check_names(members: list[str]) -> None:
    """Raise ValueError unless the members have names of write_arrays, each another one."""
    strange = [name for name in members if not _MEMBER.fullmatch(name)]
    if strange:
        raise ValueError(f"{strange[0]!r} is no array of a state")
    if len(set(members)) < len(members):
        raise ValueError("two arrays have the same name")


def _encode_array(value: Any, arrays: Arrays) -> dict[str, Any]:
    array = _as_array(value)
    name = f"a{len(arrays)}"
    is_plain = array.dtype.kind in _KINDS
    arrays[name] = array if is_plain else array.view(f"u{array.dtype.itemsize}")
    content = {"name": name, "dtype": array.dtype.name, "scalar": isinstance(value, np.generic)}
    return {"$array": content}


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
    elif hasattr(value, "__array__") or hasattr(value, "detach"):  # a framework's tensor
        import keras

        array = np.asarray(keras.ops.convert_to_numpy(value))
    else:
        raise Unsupported(f"a {type(value).__name__} is neither a plain value nor an array")
    if array.dtype.kind not in _KINDS + "V" or array.dtype.hasobject:
        raise Unsupported(f"an array of {array.dtype} cannot be stored without pickle")
    return array


def _dtype(name: str) -> Any:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
