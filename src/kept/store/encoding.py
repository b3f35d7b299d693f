"""JSON in a store: one canonical text for each value, and a seal against damage.

A sealed value is `{"blake3":"<64 hex>","value":<JSON>}`. The digest is of exactly the bytes of the
value. Any JSON reader can read it, and a check needs no re-encoding.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from kept.digest import digest
from kept.errors import Damaged, KeyNotFound, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.bucket.base import Bucket, Buffer

T = TypeVar("T")
Json = Any  # the results of json.loads: dict, list, str, int, float, bool, None
NOT_FINITE = ("nan", "inf", "-inf")  # what JSON has instead of these numbers
# The largest values that a reader takes, in bytes: it never allocates what a damaged store claims.
MOST_RECORD = 16 * 1024 * 1024
MOST_VALUE = 64 * 1024 * 1024  # a page, a manifest, a list of a gc
# The most memory that a parsed value may take.
MOST_MEMORY = 320 * 1024 * 1024
RECORD_MEMORY = 128 * 1024 * 1024
_SMALL_VALUE = 1024 * 1024  # bytes; no smaller value takes that much
_SMALL = b',"small_integers":true}'
_HEAD = b'{"blake3":"'
_MIDDLE = b'","value":'
_START = len(_HEAD) + 64 + len(_MIDDLE)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def as_number(value: Json) -> float | None:
    """Return a value of a log as a number; None if it is none. Texts stand for NaN and infinity."""
    if isinstance(value, str):
        return float(value) if value in NOT_FINITE else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of any size
        return None


def canonical(value: Json) -> bytes:
    """Return the canonical text of value: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def copied(value: Json) -> Json:
    """Return a copy of a value; the caller may change it, and the log in memory stays as it is."""
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    return list(map(copied, value)) if isinstance(value, list) else value


def memory_of(data: bytes) -> int:
    """Return about how many bytes of memory the parsed JSON takes, at most.

    A value of JSON has a comma, bracket or brace before it. Python's smallest ones take 64 bytes,
    and objects three times as many.
    """
    width = 1 if data.isascii() else 4  # bytes of a character in Python's text
    values = data.count(b",") + data.count(b"[") + 3 * data.count(b"{")
    return len(data) * (1 + width) + values * 64


def parse(data: Buffer, key: str, most: int = MOST_MEMORY) -> Json:
    """Parse JSON read from key; raises Damaged, also if it may take more than most bytes."""
    if len(data) > _SMALL_VALUE and memory_of(bytes(data)) > most:
        raise Damaged(f"{key} is damaged: its {len(data)} bytes hold too many values")
    try:
        if bytes(data[-len(_SMALL) :]) == _SMALL:
            return _parse_small(data)
        text = bytes(data).decode()
        value = _DECODER.decode(text)
        if "\\ud" in text or "\\uD" in text:
            canonical(value)  # UTF-8 cannot hold half of a surrogate pair
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{key} is not JSON: {error}") from None
    return value


def with_small_integers(value: dict[str, Json]) -> dict[str, Json]:
    """Return an object, marked if all its integers have at most 64 bits: then it reads faster."""
    import orjson

    try:
        orjson.dumps(value)
    except TypeError:
        return value
    return value | {"small_integers": True}


def _parse_small(data: Buffer) -> Json:
    # Three times as fast, but larger integers would become floats.
    import orjson

    return orjson.loads(data)


def again_if_damaged(read: Callable[[], T], *, must_exist: bool = False) -> T:
    """Return read(); if it finds damage, return a second read(), which raises what it finds.

    One answer of a server can have a wrong byte. So this is the rule for every value that is read
    and checked; a read without damage costs nothing more. Pass must_exist if something proves that
    the value exists, and a server can say once that it does not.
    """
    try:
        return read()
    except Unreadable:  # the disk has tried it again itself
        raise
    except KeyNotFound:
        if not must_exist:
            raise
    except Damaged:
        pass
    return read()


def read_bounded(bucket: Bucket, key: str, most: int) -> Buffer:
    """Return the value of a key; raises KeyNotFound, or Damaged if it has more than most bytes."""
    data = bucket.get(key, 0, most + 1)
    if len(data) > most:
        raise Damaged(f"{key} is damaged: expected at most {most} bytes, found more")
    return data


def seal(value: Json) -> bytes:
    """Return the sealed form of value."""
    body = canonical(value)
    return b"".join((_HEAD, digest(body).encode(), _MIDDLE, body, b"}"))


def sealed(data: Buffer, key: str, most: int = MOST_MEMORY) -> tuple[Json, str]:
    """Return the value in sealed bytes that were read from key, and its digest; raises Damaged."""
    body = memoryview(data)[_START:-1]  # a page has half a megabyte
    found = digest(body)
    expected = b"".join((_HEAD, found.encode(), _MIDDLE))
    if data[:_START] != expected or data[-1:] != b"}":
        raise Damaged(f"{key} is damaged: its {len(data)} bytes do not match their checksum")
    return parse(body, key, most), found


def unseal(data: Buffer, key: str) -> Json:
    """Return the value in sealed bytes that were read from key; raises Damaged."""
    return sealed(data, key)[0]
