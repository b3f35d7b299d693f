"""Values as JSON and arrays, and back; without pickle, so reading a state runs no code.

At the end are the kinds of values in a state, and the error for a value of another kind.
"""

from __future__ import annotations

import io
import math
import numbers
import re
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.digest import Hasher
from kept.errors import Damaged

if TYPE_CHECKING:
    from collections.abc import Mapping

Arrays = dict[str, np.ndarray[Any, Any]]
_PLAIN = (str, int, bool, type(None))
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_MEMBER = re.compile(r"a[0-9]+\.npy")
_ENTRY = b"PK\1\2"  # begins each entry of a zip file's list of members
_MOST_ARRAYS = 100_000
_MOST_BYTES = 32 * 2**20  # of JSON
_MOST_LISTS = 1_000_000  # and objects, which need far more memory than their text
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_NO_ARRAYS = (
    ValueError,
    TypeError,
    LookupError,
    OSError,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,
    RecursionError,
    SyntaxError,
    struct.error,
    zipfile.BadZipFile,
)
_TYPES = "biufc"  # kinds of types that .npy files hold; bfloat16 and float8 are stored as integers
_GREATEST = 2**53  # of counts; no run has as many batches
_SHOWN = 80  # characters of a wrong value in a message


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
    """Return the value that encode received; its arrays are NumPy's.

    Raises ValueError, LookupError, TypeError or RecursionError for what encode does not return.
    """
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "$float":
        return _FLOATS[content]
    if kind == "$array":
        return _decode_array(content, arrays)
    if kind not in ("$tuple", "$dict") or not isinstance(content, list):
        raise ValueError(f"{kind!r} is no value of a state")
    if kind == "$tuple":
        return tuple(decode(item, arrays) for item in content)
    found = {decode(k, arrays): decode(v, arrays) for k, v in content}
    if len(found) < len(content):
        raise ValueError("a dict of a state has a key twice")
    return found


def _decode_array(content: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    name, wanted, is_scalar = content["name"], content["dtype"], content["scalar"]
    array = arrays[name]
    if array.dtype.name != wanted:
        kind = _dtype(wanted)
        if kind.itemsize != array.dtype.itemsize or kind.hasobject or kind.name != wanted:
            raise ValueError(f"array {name} of {array.dtype} is no {wanted}")
        array = array.view(kind)
    if type(is_scalar) is not bool or (is_scalar and array.ndim):
        raise ValueError(f"array {name} has the shape {array.shape}; expected a scalar")
    return array[()] if is_scalar else array


def check_size(text: bytes) -> None:
    """Raise ValueError for the JSON of a state that would need too much memory to read."""
    lists = text.count(b"[") + text.count(b"{")
    if len(text) > _MOST_BYTES or lists > _MOST_LISTS:
        raise ValueError(
            f"the JSON of the state has {len(text):,} bytes and {lists:,} lists; expected up to "
            f"{_MOST_BYTES:,} and {_MOST_LISTS:,}. Arrays need less: use them instead of lists"
        )


def write_arrays(path: str, arrays: Arrays) -> None:
    """Write arrays to an .npz file; equal arrays give equal bytes."""
    with zipfile.ZipFile(path, "x") as archive:
        for name, array in arrays.items():
            # Without arguments a ZipInfo has a fixed date.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


def npy_digest(array: np.ndarray[Any, Any]) -> str:
    """Return the digest of an array's .npy file, without making the file."""
    header = io.BytesIO()
    content = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(header, content)
    hasher = Hasher(header.getvalue())
    hasher.update((array.T if content["fortran_order"] else array).reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


def read_arrays(data: bytes) -> Arrays:
    """Return the arrays of an .npz file by name, none larger than the bytes that it has.

    Raises Damaged, also for names that are paths.
    """
    try:
        if data.count(_ENTRY) > _MOST_ARRAYS:
            raise ValueError(f"it has more than {_MOST_ARRAYS:,} members")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_members(archive.infolist(), len(data))
            return {m.filename[: -len(".npy")]: _read_array(archive, m) for m in archive.infolist()}
    except _NO_ARRAYS as error:
        raise Damaged(f"Cannot read the arrays of a state: {error}") from error


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Raise ValueError unless write_arrays can have written the members."""
    strange = [m.filename for m in members if not _MEMBER.fullmatch(m.filename)]
    if strange:
        raise ValueError(f"{strange[0]!r} is no array of a state")
    if len({m.filename for m in members}) < len(members):
        raise ValueError("two arrays have the same name")
    if any(m.compress_type != zipfile.ZIP_STORED for m in members):
        raise ValueError("an array is compressed; expected plain bytes")
    if sum(m.file_size for m in members) > size:
        raise ValueError(f"the arrays have more than the {size} bytes of their file")


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    """Return an array; raise ValueError unless it has as many bytes as its header declares."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"array {member.filename} has the version {version}")
        shape, _, dtype = _HEADERS[version](file)
        found = member.file_size - file.tell()
    if dtype.hasobject:
        raise ValueError("Object arrays are no arrays of a state")
    if dtype.kind not in _TYPES or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"array {member.filename} is of {dtype} with the shape {shape}")
    declared = math.prod(shape) * dtype.itemsize
    if declared != found:
        raise ValueError(f"expected {declared} bytes in {member.filename}, found {found}")
    with archive.open(member) as file:
        array: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _encode_array(value: Any, arrays: Arrays) -> dict[str, Any]:
    array = _as_array(value)
    name = f"a{len(arrays)}"
    is_plain = array.dtype.kind in _TYPES
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
    if array.dtype.kind not in _TYPES + "V" or array.dtype.hasobject:
        raise Unsupported(f"an array of {array.dtype} cannot be stored without pickle")
    return array


def _dtype(name: str) -> Any:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def check(value: Any, name: str, is_right: bool) -> None:  # noqa: FBT001 - it reads as a sentence
    """Raise ValueError for a value that is not right; name is its field."""
    if not is_right:
        shown = ascii(value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        raise ValueError(f"{name} has a wrong type or range. Found: {shown}")


def fields(value: Any, name: str, kind: type, *required: str) -> dict[Any, Any]:
    """Return a dict whose keys are of a kind, and that has the required ones; else ValueError."""
    check(value, name, isinstance(value, dict) and all(isinstance(key, kind) for key in value))
    check(value, name, all(key in value for key in required))
    found: dict[Any, Any] = value
    return found


def is_count(value: Any) -> bool:
    """Return whether a value is a number of epochs, batches or bytes."""
    return type(value) is int and 0 <= value <= _GREATEST


def is_printable(value: Any) -> bool:
    """Return whether a value is a text that messages can show."""
    return isinstance(value, str) and value.isprintable()


def is_numeric(array: Any) -> bool:
    """Return whether an array holds real numbers; bfloat16 and float8 are of kind V."""
    return array.dtype.kind in "biufV"


def is_number(value: Any) -> bool:
    """Return whether a value is a real number, of Python or NumPy."""
    if isinstance(value, np.ndarray | np.generic):
        return value.ndim == 0 and is_numeric(value)
    return isinstance(value, numbers.Real)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _is_lists(value: Any) -> bool:
    """Return whether a value is a dict of lists, as History has."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(one, list) for name, one in value.items()
    )


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


_KINDS = {
    "flag": _is_flag,
    "count": is_count,
    "number": is_number,
    "text": _is_text,
    "array": _is_array,
    "lists": _is_lists,
}


def is_kind(kind: str, value: Any) -> bool:
    """Return whether a value is of a kind; `count?` may be None, and `count*` is a list."""
    if kind.endswith("?"):
        return value is None or is_kind(kind[:-1], value)
    if kind.endswith("*"):
        return isinstance(value, list) and all(is_kind(kind[:-1], item) for item in value)
    return _KINDS[kind](value)
