"""Parses spans of time and numbers of bytes ("7d", "50GB"), and formats values for people."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from kept.errors import InvalidInput

_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(rf"{_NUMBER}({'|'.join(_SECONDS)})\s*")
_BYTES = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_SIZE = re.compile(rf"{_NUMBER}({'|'.join(_BYTES)})\s*")
_MOST_OF_32_BITS = 11  # characters of 0.123456789
_LONGEST = 1e10  # seconds, 300 years: a moment that far from now still has a date


def parse_span(span: str | float | timedelta, what: str) -> timedelta:
    """Return a span of time given as "7d", "12h", "30min", seconds or a timedelta.

    Raises InvalidInput, whose message names what.
    """
    given, found = span, _SPAN.fullmatch(span) if isinstance(span, str) else None
    if found:
        span = float(found[1]) * _SECONDS[found[2]]
    if isinstance(span, timedelta):
        span = span.total_seconds()
    if isinstance(span, (int, float)) and not isinstance(span, bool) and 0 <= span < _LONGEST:
        return timedelta(seconds=span)
    examples = f"{what} is a time such as '7d', '12h', '30min' or '2w'"
    if isinstance(given, str):  # perhaps on a command line
        number = given.strip()
        unit = f". Add a unit, as in '{number}d'" if number.isdigit() else ""
        raise InvalidInput(f"{examples}, less than 300 years. Received: {given!r}{unit}")
    raise InvalidInput(
        f"{examples}, a number of seconds or a timedelta, less than 300 years. Received: {given!r}"
    )


def parse_bytes(size: str | int, what: str) -> int:
    """Return a number of bytes given as "50GB", "512MiB" or a number; raises InvalidInput."""
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found:
        return int(float(found[1]) * _BYTES[found[2]])
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    raise InvalidInput(
        f"{what} is a number of bytes, or a text such as '50GB' or '512MiB'. Received: {size!r}"
    )


def size_text(size: float) -> str:
    """Return 3400000 as 3.4 MB."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} PB"


def time_text(moment: datetime) -> str:
    """Return a moment in the form of the logs: UTC, ISO 8601."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def expiry(ttl: str | float | timedelta | None) -> str | None:
    """Return the moment when a version with this ttl expires, counted from now."""
    return None if ttl is None else time_text(datetime.now(UTC) + parse_span(ttl, "ttl"))


def value_text(value: Any) -> str:
    """Return a metadata value as a person reads it."""
    if isinstance(value, float):
        return _shortest(value)
    if isinstance(value, str):
        return value
    import json

    return json.dumps(value, ensure_ascii=False)


def _shortest(value: float) -> str:
    """Return the digits of a number: of a 32-bit float, as Keras logs them, no more than it has."""
    digits = repr(value)
    if len(digits) <= _MOST_OF_32_BITS or not isfinite(value):
        return digits
    import struct

    with suppress(OverflowError):  # more than 32 bits can hold
        bits = struct.pack("f", value)
        if struct.unpack("f", bits)[0] == value:
            shorter = (f"{value:.{count}g}" for count in range(1, 10))
            return next(text for text in shorter if struct.pack("f", float(text)) == bits)
    return digits


def metric_text(value: Any) -> str:
    """Return the value of a metric, a float with six digits."""
    return f"{value:.6g}" if isinstance(value, float) else value_text(value)


def counted(number: int, noun: str) -> str:
    """Return 1 file, 2 files."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
