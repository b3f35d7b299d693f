"""Blobs: stored bytes that are named by the digest of their raw form.

A stored blob is a header of 16 bytes and the payload:

    0   4  b"kept"
    4   1  codec (0: the payload is the raw bytes, 1: coded, see coded.py)
    5   3  zero, or of the codec
    8   8  number of raw bytes, unsigned, little-endian

So a blob says how it is stored, and its head and length show whether it was cut short. Its bytes
may be replaced by another stored form of the same raw bytes, at any moment and in one step.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kept.digest import digest
from kept.errors import Damaged, KeyNotFound
from kept.store.blobs.header import CODED, HEAD_SIZE, MOST, Head, parse_head

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from kept.bucket.base import Bucket, Buffer, Parts

HEADER = struct.Struct("<4sB3xQ")
MAGIC = b"kept"
RAW = 0
LONGEST_CHAIN = 16  # of bases one after the other that a reader follows; kept writes at most 4


def blob_key(name: str) -> str:
    """Return the key of the blob with that digest."""
    return f"blobs/{name[:2]}/{name}"


def encode_blob(parts: Parts) -> list[Buffer]:
    """Return raw bytes in stored form, without copying them."""
    return [HEADER.pack(MAGIC, RAW, sum(len(part) for part in parts)), *parts]


def stored_size(raw_size: int) -> int:
    """Return how long a raw blob is when it is whole."""
    return HEADER.size + raw_size


def read_blob(bucket: Bucket, name: str, *, lent: bool = False) -> memoryview:
    """Return a blob's raw bytes, checked against its name; raises Damaged.

    Lent bytes are gone when the same thread reads the next blob: that takes no new memory.
    """
    try:
        raw = _read(bucket, name, lent=lent)
    except _BaseGone:  # it may have been stored anew, without its base, since it was read
        raw = _read(bucket, name, lent=lent)
    if digest(raw) != name:
        raise Damaged(
            f"{blob_key(name)} is damaged: its {len(raw)} bytes have another digest than its name"
        )
    return raw


def read_head(bucket: Bucket, name: str) -> Head | None:
    """Return what the start of a blob says, or None if there is none; raises Damaged.

    A head is returned only if the value is as long as its head says.
    """
    key = blob_key(name)
    while (size := bucket.size(key)) is not None:
        try:
            stored = bucket.get(key, 0, HEAD_SIZE)
        except KeyNotFound:
            return None
        try:
            return _head(stored, size, key)
        except Damaged:
            # Size and bytes are of two forms if the blob was stored anew between the two questions.
            if bucket.size(key) == size:
                raise
    return None


def is_whole(bucket: Bucket, name: str, raw_size: int | None = None, *, least: int = 0) -> bool:
    """Return whether a blob is there in any stored form, as long as it should be, with its bases.

    raw_size is how many raw bytes it is to have, or least how many at the least.
    """
    for _ in range(LONGEST_CHAIN):
        size = bucket.size(blob_key(name))
        if size is None:
            return False
        if size == stored_size(least if raw_size is None else raw_size):
            return True  # coded forms are shorter, so this is the raw one: no need to look
        try:
            head = read_head(bucket, name)
        except Damaged:
            return False
        if head is None or (
            head.raw_size < least if raw_size is None else head.raw_size != raw_size
        ):
            return False
        if head.base is None:
            return True
        name, raw_size, least = head.base, None, 0
    return False


def bases_of(bucket: Bucket, name: str) -> tuple[str, ...]:
    """Return the blobs that reading a blob needs beside itself, the nearest first.

    There are none for a blob that is missing, damaged, or stored by itself. What it returns stays
    true for as long as the caller holds bases_lock(bucket), where that can be had.
    """
    found: list[str] = []
    while len(found) < LONGEST_CHAIN:
        try:
            head = read_head(bucket, found[-1] if found else name)
        except Damaged:
            break
        if head is None or head.base is None or head.base in (name, *found):
            break
        found.append(head.base)
    return tuple(found)


def bases_lock(bucket: Bucket, *, wait: bool = False) -> AbstractContextManager[bool]:
    """Hold the lock under which blobs get bases, as Bucket.locked does.

    Whoever deletes blobs holds it from looking for what is needed until all is deleted; whoever
    stores a blob with a base, from looking for the base until the blob is durable. So no blob gets
    a base that is being deleted. Without the lock (object storage has none) no blob gets a base.
    """
    return bucket.locked("bases", wait=wait)


def with_bases(bucket: Bucket, names: Iterable[str]) -> set[str]:
    """Return the blobs and all that reading them needs: what a collector has to leave alone."""
    needed: set[str] = set()
    for name in names:
        if name not in needed:
            needed.add(name)
            needed.update(bases_of(bucket, name))
    return needed


class _BaseGone(Damaged):
    """A blob is needed to read another one, and is not there."""


def _read(bucket: Bucket, name: str, *, lent: bool) -> memoryview:
    """Return a blob's raw bytes, unchecked; raises Damaged."""
    chain: list[tuple[Head, Buffer, str]] = []  # coded forms, the blob itself first
    here: str | None = name
    raw = memoryview(b"")
    while here is not None:
        if len(chain) == LONGEST_CHAIN:
            raise Damaged(f"{blob_key(name)} is damaged: its bases come to no end")
        stored = _get(bucket, here, name)
        head = _head(stored, len(stored), blob_key(here))
        if head.codec == RAW:
            raw = memoryview(stored)[HEADER.size :]
        else:
            chain.append((head, stored, blob_key(here)))
        here = head.base
    return _decoded(chain, raw, lent=lent) if chain else raw


def _decoded(chain: list[tuple[Head, Buffer, str]], raw: memoryview, *, lent: bool) -> memoryview:
    from kept.store.blobs.codec import decode  # NumPy and zstandard: only for coded blobs

    while chain:
        head, stored, key = chain.pop()
        raw = decode(head, stored, raw, key, lent=lent or bool(chain))
    return raw


def _get(bucket: Bucket, name: str, wanted: str) -> Buffer:
    try:
        return bucket.get(blob_key(name))
    except KeyNotFound:
        if name == wanted:
            raise Damaged(f"{blob_key(name)} is missing from {bucket.location}") from None
        raise _BaseGone(
            f"{blob_key(name)} is missing from {bucket.location}; {blob_key(wanted)} is stored as "
            "its difference to it"
        ) from None


def _head(stored: Buffer, size: int, key: str) -> Head:
    """Return the head of a blob that is size bytes long; raises Damaged."""
    if len(stored) < HEADER.size:
        raise Damaged(f"{key} is damaged: {len(stored)} bytes are less than its header")
    magic, codec, raw_size = HEADER.unpack_from(stored)
    if magic == MAGIC and codec == CODED and raw_size <= MOST:
        return parse_head(stored, size, key)
    if bytes(stored[: HEADER.size]) != HEADER.pack(MAGIC, RAW, raw_size):
        raise Damaged(f"{key} is damaged or of a newer format: magic {magic!r}, codec {codec}")
    if size != stored_size(raw_size):
        raise Damaged(f"{key} is damaged: {size} bytes stored, {stored_size(raw_size)} due")
    return Head(RAW, raw_size)
