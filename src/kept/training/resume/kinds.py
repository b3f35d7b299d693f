"""The kinds of values in a state, and the error for a value of another kind."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

_GREATEST = 2**53  # of counts; no run has as many batches
_SHOWN = 80  # characters of a wrong value in a message


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
