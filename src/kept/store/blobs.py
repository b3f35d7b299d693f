"""Blobs: stored bytes that are named by the digest of their raw form.

A stored blob is a header of 16 bytes and the payload:

    0   4  b"kept"
    4   1  codec (0: the payload is the raw bytes)
    5   3  zero
    8   8  number of raw bytes, unsigned, little-endian

So a blob says how it is stored, and its length alone shows whether it was cut short.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kept.digest import digest
from kept.errors import Damaged, KeyNotFound

if TYPE_CHECKING:
    from kept.bucket.base import Bucket, Buffer, Parts
    from kept.store.manifest import Chunk

HEADER = struct.Struct("<4sB3xQ")
MAGIC = b"kept"
RAW = 0


def blob_key(name: str) -> str:
    """Return the key of the blob with that digest."""
    return f"blobs/{name[:2]}/{name}"


def encode_blob(parts: Parts) -> list[Buffer]:
    """Return raw bytes in stored form, without copying them."""
    return [HEADER.pack(MAGIC, RAW, sum(len(part) for part in parts)), *parts]


def stored_size(raw_size: int) -> int:
    """Return how long a raw blob is when it is whole."""
    return HEADER.size + raw_size


def read_blob(bucket: Bucket, name: str) -> memoryview:
    """Return a blob's raw bytes, checked against its name; raises Damaged."""
    key = blob_key(name)
    try:
        stored = bucket.get(key)
    except KeyNotFound:
        raise Damaged(f"{key} is missing from {bucket.location}") from None
    raw = _decode(stored, key)
    if digest(raw) != name:
        raise Damaged(f"{key} is damaged: its {len(raw)} bytes have another digest than its name")
    return raw


def take_chunk(raw: memoryview, chunk: Chunk) -> memoryview:
    """Return a chunk out of its blob's raw bytes, checked; raises Damaged."""
    piece = raw[chunk.offset : chunk.offset + chunk.size]
    if chunk.blob != chunk.digest and digest(piece) != chunk.digest:
        raise Damaged(
            f"{blob_key(chunk.blob)} does not hold chunk {chunk.digest} at {chunk.offset}"
        )
    if len(piece) != chunk.size:
        raise Damaged(f"{blob_key(chunk.blob)} holds {len(piece)} bytes, {chunk.size} due")
    return piece


def _decode(stored: bytes, key: str) -> memoryview:
    if len(stored) < HEADER.size:
        raise Damaged(f"{key} is damaged: {len(stored)} bytes are less than its header")
    magic, codec, raw_size = HEADER.unpack_from(stored)
    if stored[: HEADER.size] != HEADER.pack(MAGIC, RAW, raw_size):
        raise Damaged(f"{key} is damaged or of a newer format: magic {magic!r}, codec {codec}")
    if len(stored) != stored_size(raw_size):
        raise Damaged(f"{key} is damaged: {len(stored)} bytes stored, {stored_size(raw_size)} due")
    return memoryview(stored)[HEADER.size :]
