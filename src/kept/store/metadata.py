"""Checks the metadata of versions, and converts it to JSON values."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kept.errors import InvalidMetadata
from kept.store.encoding import MOST_RECORD, Json, canonical

# The key for when a checkpoint was saved, if that was before its commit: UTC, ISO 8601.
SAVED_AT = "saved_at"
_MOST = MOST_RECORD // 4  # bytes of JSON: a record repeats some facts, and has to fit


@dataclass(frozen=True, slots=True)
class MeasuredMetadata:
    """Metadata of a version that the commit completes with what it measures itself.

    A value in values takes precedence over a measured one of that name.
    started is the time.perf_counter() at which the writing of the version began; the seconds since
    then are stored under each name in seconds. A version that contends gets the alias best if its
    metric beats that of the best version (see rank/best.py).
    """

    values: Mapping[str, Any]
    started: float = 0.0
    seconds: tuple[str, ...] = ()
    contends: bool = False

    def complete(self, bytes_new: int | None) -> dict[str, Any]:
        """Return the metadata at this moment; bytes_new is left out if it is not known."""
        elapsed = time.perf_counter() - self.started
        measured = dict.fromkeys(self.seconds, elapsed)
        new = {} if bytes_new is None else {"bytes_new": bytes_new}
        return {**measured, **self.values, **new}


def checked(
    metadata: Mapping[str, Any] | MeasuredMetadata | None,
) -> dict[str, Json] | MeasuredMetadata:
    """Return metadata with values that JSON can hold; raises InvalidMetadata."""
    if isinstance(metadata, MeasuredMetadata):
        return replace(metadata, values=check_metadata(metadata.values))
    return check_metadata(metadata)


def check_metadata(metadata: Mapping[str, Any] | None, what: str = "metadata") -> dict[str, Json]:
    """Return metadata as plain JSON values; raises InvalidMetadata, which says what they are.

    NumPy and framework scalars become numbers. JSON has no NaN and no infinities, so these become
    the texts "nan", "inf" and "-inf", which float() converts back.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidMetadata(f"{what} is a dict. Received: {metadata!r}")
    try:
        value: dict[str, Json] = _plain(metadata, what)
        size = len(canonical(value))
    except InvalidMetadata:
        raise
    except (RecursionError, ValueError):
        raise InvalidMetadata(
            f"{what} holds itself, is nested too deeply, or has a number of too many digits."
        ) from None
    if size > _MOST:
        raise InvalidMetadata(
            f"{what} has at most {_MOST} bytes as JSON. Received: {size} bytes. Store large "
            "values as files of the version."
        )
    return value


def _plain(value: Any, where: str) -> Json:
    if value is None or isinstance(value, (bool, str, int)):
        return _plain_text(value, where) if isinstance(value, str) else value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {_plain_key(key, where): _plain(v, f"{where}[{key!r}]") for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if _is_array(value):
        read = _read(value, where)
        if type(read) is not type(value):
            return _plain(read, where)
        from numbers import Real

        # A longdouble or clongdouble of NumPy, for which Python has no type.
        if isinstance(value, Real) and not (math.isinf(float(value)) and value != float(value)):
            return _plain(float(value), where)
    raise InvalidMetadata(
        f"{where} cannot be stored as JSON; pass numbers, texts, lists and dicts. "
        f"Received: {value!r} of type {type(value).__name__}"
    )


def _is_array(value: Any) -> bool:
    """Return whether a value is an array, a tensor or a scalar of a framework."""
    shape = getattr(value, "shape", None)
    is_scalar_of_tensorflow = shape == () and hasattr(value, "numpy")
    return is_scalar_of_tensorflow or (shape is not None and hasattr(value, "tolist"))


def _read(array: Any, where: str) -> Any:
    """Return the values of an array or tensor; raises InvalidMetadata if they cannot be read."""
    try:
        return array.tolist() if hasattr(array, "tolist") else array.numpy().tolist()
    except Exception as error:  # noqa: BLE001 - a framework's: a tensor without data, or deleted
        kind, first = type(array).__name__, str(error).partition("\n")[0]
        raise InvalidMetadata(f"{where} cannot be read. Received: {kind}: {first}") from None


def _plain_key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise InvalidMetadata(f"Keys of {where} are texts. Received: {key!r}")
    return str(_plain_text(key, where))


def _plain_text(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidMetadata(f"{where} is not valid Unicode. Received: {text!r}") from None
    return str.__str__(text)  # also for an enum that is a text
