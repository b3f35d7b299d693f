"""JSON in a store: one canonical text for each value, and a seal against damage.

A sealed value is `{"blake3":"<64 hex>","value":<JSON>}`. The digest is of exactly the bytes of the
value. Any JSON reader can read it, and a check needs no re-encoding.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kept.digest import digest
from kept.errors import Damaged

if TYPE_CHECKING:
    from kept.bucket.base import Buffer

Json = Any  # the results of json.loads: dict, list, str, int, float, bool, None
_HEAD = b'{"blake3":"'
_MIDDLE = b'","value":'
_START = len(_HEAD) + 64 + len(_MIDDLE)


def canonical(value: Json) -> bytes:
    """Return the canonical text of value: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def parse(data: Buffer, key: str) -> Json:
    """Parse JSON read from key; raises Damaged."""
    try:
        return json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{key} is not JSON: {error}") from None


def seal(value: Json) -> bytes:
    """Return the sealed form of value."""
    body = canonical(value)
    return b"".join((_HEAD, digest(body).encode(), _MIDDLE, body, b"}"))


def unseal(data: Buffer, key: str) -> Json:
    """Return the value in sealed bytes that were read from key; raises Damaged."""
    body = data[_START:-1]
    expected = b"".join((_HEAD, digest(body).encode(), _MIDDLE))
    if data[:_START] != expected or data[-1:] != b"}":
        raise Damaged(f"{key} is damaged: its {len(data)} bytes do not match their checksum")
    return parse(body, key)
