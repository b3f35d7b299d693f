"""Corrects a single flipped bit: the digest of the right bytes shows which one it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.digest import digest

if TYPE_CHECKING:
    from kept.bucket.base import Buffer

_MOST = 16 * 1024  # bytes: each bit costs a digest of all of them, together a second


def flipped_back(data: Buffer, wanted: str) -> bytes | None:
    """Return the bytes with this digest that differ in at most one bit, or None."""
    if digest(data) == wanted:
        return bytes(data)
    if len(data) > _MOST:
        return None
    tried = bytearray(data)
    for place in range(len(tried)):
        for bit in range(8):
            tried[place] ^= 1 << bit
            if digest(tried) == wanted:
                return bytes(tried)
            tried[place] ^= 1 << bit
    return None


def differs_in_one_bit(one: bytes, other: bytes) -> bool:
    """Return whether two values of one length differ in a single bit."""
    different = [a ^ b for a, b in zip(one, other, strict=False) if a != b]
    return len(one) == len(other) and len(different) == 1 and different[0].bit_count() == 1
