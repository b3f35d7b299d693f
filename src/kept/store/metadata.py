"""Metadata of versions, as JSON can hold it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidMetadata
from kept.store.encoding import Json, canonical

if TYPE_CHECKING:
    from collections.abc import Callable


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Json]:
    """Return metadata as plain JSON values; raises InvalidMetadata.

    NumPy and framework scalars become numbers; JSON has no NaN and no infinities, so these become
    the texts "nan", "inf" and "-inf", which float() reads back.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidMetadata(f"metadata is a dict. Received: {metadata!r}")
    try:
        value: dict[str, Json] = _plain(metadata, "metadata")
        canonical(value)
    except InvalidMetadata:
        raise
    except (RecursionError, ValueError):
        raise InvalidMetadata(
            "metadata holds itself, is nested too deeply, or has a number of too many digits."
        ) from None
    return value


def describer(
    metadata: Mapping[str, Any] | Callable[[int], Mapping[str, Any]] | None,
) -> Callable[[int], dict[str, Json]]:
    """Return a function that returns metadata, checked now if they do not depend on its argument.

    Raises InvalidMetadata, which the function may do, too.
    """
    if callable(metadata):
        return lambda bytes_new: check_metadata(metadata(bytes_new))
    checked = check_metadata(metadata)
    return lambda _: checked


def _plain(value: Any, where: str) -> Json:
    if value is None or isinstance(value, (bool, str, int)):
        return _plain_text(value, where) if isinstance(value, str) else value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {_plain_key(key, where): _plain(v, f"{where}[{key!r}]") for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if getattr(value, "shape", None) is not None and hasattr(value, "tolist"):
        return _plain(value.tolist(), where)
    if getattr(value, "shape", None) == () and hasattr(value, "numpy"):
        return _plain(value.numpy().tolist(), where)  # a TensorFlow scalar
    raise InvalidMetadata(
        f"{where} cannot be stored as JSON; pass numbers, texts, lists and dicts. "
        f"Received: {value!r} of type {type(value).__name__}"
    )


def _plain_key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise InvalidMetadata(f"Keys of {where} are texts. Received: {key!r}")
    return str(_plain_text(key, where))


def _plain_text(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidMetadata(f"{where} is not valid Unicode. Received: {text!r}") from None
    return str.__str__(text)  # of a text that is an enum, too, the text
