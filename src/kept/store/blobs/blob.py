"""Blobs: stored bytes that are named by the digest of their raw form.

A stored blob is a header of 16 bytes and the payload:

    0   4  b"kept"
    4   1  codec (0: the payload is the raw bytes, 1: coded, see header.py)
    5   3  zero, or of the codec
    8   8  number of raw bytes, unsigned, little-endian

So a blob says how it is stored, and its head and length show whether it was cut short. A compactor
may replace its bytes by another stored form of the same raw bytes, at any moment and in one step.

Whatever is stored, a reader takes a few times MOST bytes of memory: it reads no more of a value,
and blobs larger than those that kept makes one at a time.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from typing import TYPE_CHECKING

from kept.digest import digest
from kept.errors import Damaged, KeyNotFound, Unreadable
from kept.store.blobs.header import CODED, HEAD_SIZE, MOST, Head, parse_head
from kept.store.encoding import again_if_damaged

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kept.bucket.base import Bucket, Buffer, Parts

HEADER = struct.Struct("<4sB3xQ")
MAGIC = b"kept"
RAW = 0
LONGEST_CHAIN = 16  # of bases one after the other that a reader follows; kept writes at most 4
_USUAL = 24 * 1024 * 1024  # raw bytes; kept makes no larger blobs
_HELD = 32 * 1024 * 1024  # bytes of the coded forms of a chain; the others are read again
_one_large = threading.Lock()


def blob_key(name: str) -> str:
    """Return the key of the blob with that digest."""
    return f"blobs/{name[:2]}/{name}"


def raw_form(parts: Parts) -> list[Buffer]:
    """Return the raw stored form of a blob with these bytes, without copying them."""
    return [HEADER.pack(MAGIC, RAW, sum(len(part) for part in parts)), *parts]


def stored_size(raw_size: int) -> int:
    """Return the length of the raw stored form."""
    return HEADER.size + raw_size


def read_blob(bucket: Bucket, name: str, *, lent: bool = False) -> memoryview:
    """Return a blob's raw bytes, checked against its name; raises Damaged.

    Lent bytes need no new memory: the next blob that the same thread reads overwrites them.
    """
    return again_if_damaged(lambda: _read_checked(bucket, name, lent=lent))


def _read_checked(bucket: Bucket, name: str, *, lent: bool) -> memoryview:
    raw = None
    with contextlib.suppress(_Large):
        raw = _read(bucket, name, _USUAL, lent=lent)
    if raw is None:
        with _one_large:
            raw = _read(bucket, name, MOST, lent=lent)
    if digest(raw) != name:
        raise Damaged(
            f"{blob_key(name)} is damaged: its {len(raw)} bytes have another digest than its name"
        )
    return raw


def read_unchecked(bucket: Bucket, name: str) -> memoryview:
    """Return the raw bytes under a blob's key, whatever blob they are; raises Damaged."""
    return again_if_damaged(lambda: _read(bucket, name, MOST, lent=False))


def read_head(bucket: Bucket, name: str) -> Head | None:
    """Return the head of a blob, or None if the blob is missing; raises Damaged.

    It is damaged if the value is not as long as its head says.
    """
    return again_if_damaged(lambda: _read_head(bucket, name))


def _read_head(bucket: Bucket, name: str) -> Head | None:
    key = blob_key(name)
    while (size := bucket.size(key)) is not None:
        try:
            stored = bucket.get(key, 0, HEAD_SIZE)
        except KeyNotFound:
            return None
        try:
            return _head(stored, size, key)
        except Damaged:
            # If the blob was stored again between the two requests, they saw two different forms.
            if bucket.size(key) == size:
                raise
    return None


def is_whole(bucket: Bucket, name: str, raw_size: int | None = None, *, least: int = 0) -> bool:
    """Return whether a blob exists in any stored form, with the right length and all its bases.

    Pass the expected number of raw bytes as raw_size, or the least number as least.
    """
    for _ in range(LONGEST_CHAIN):
        try:
            size = bucket.size(blob_key(name))
            if size is None:
                return False
            if size == stored_size(least if raw_size is None else raw_size):
                return True  # coded forms are shorter, so this is the raw one: no further request
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


def bases_of(bucket: Bucket, name: str, *, strict: bool = False) -> tuple[str, ...]:
    """Return the blobs that reading a blob needs in addition, the nearest first.

    A blob that is missing, damaged, or stored without a base has none. The result stays true as
    long as the caller holds bases_lock(bucket). With strict, raises Unreadable if the disk cannot
    read a blob: it can have a base, which must not be deleted.
    """
    found: list[str] = []
    while len(found) < LONGEST_CHAIN:
        try:
            head = read_head(bucket, found[-1] if found else name)
        except Damaged as error:
            if strict and isinstance(error, Unreadable):
                raise
            break
        if head is None or head.base is None or head.base in (name, *found):
            break
        found.append(head.base)
    return tuple(found)


def bases_lock(bucket: Bucket, *, wait: bool = False) -> AbstractContextManager[bool]:
    """Hold the lock under which blobs get bases, as Bucket.locked does.

    A gc holds it from its search for needed blobs until its last deletion. A compactor holds it
    from its look at a base until the blob with that base is durable. So no blob gets a base that
    is being deleted. Without the lock (object storage has none) no blob gets a base.
    """
    return bucket.locked("bases", wait=wait)


class _Large(Exception):
    """A blob has more raw bytes than the caller's limit."""


def _read(bucket: Bucket, name: str, most: int, *, lent: bool) -> memoryview:
    """Return a blob's raw bytes, unchecked; raises Damaged, or _Large for more than most bytes."""
    chain: list[tuple[Head, Buffer | None, str]] = []  # coded forms, the blob itself first
    here: str | None = name
    raw, held = memoryview(b""), 0
    while here is not None:
        if len(chain) == LONGEST_CHAIN:
            raise Damaged(
                f"{blob_key(name)} is damaged: its chain of bases is longer than {LONGEST_CHAIN}"
            )
        stored = _get(bucket, here, name, most)
        head = _head(stored, len(stored), blob_key(here))
        if head.raw_size > most:
            raise _Large
        if head.codec == RAW:
            raw = memoryview(stored)[HEADER.size :]
        else:
            held += len(stored)
            chain.append((head, stored if held <= _HELD else None, here))
        del stored
        here = head.base
    while chain:
        head, kept, here = chain.pop()
        coded = _get_again(bucket, here, name, head) if kept is None else kept
        raw = _decoded(head, coded, raw, blob_key(here), lent=lent or bool(chain))
    return raw


def _decoded(head: Head, stored: Buffer, raw: memoryview, key: str, *, lent: bool) -> memoryview:
    from kept.store.blobs.codec import decode_blob  # NumPy and zstandard: only for coded blobs

    return decode_blob(head, stored, raw, key, lent=lent)


def _get(bucket: Bucket, name: str, wanted: str, most: int) -> Buffer:
    """Return the stored form of a blob; raises _Large for more than most raw bytes."""
    try:
        stored = bucket.get(blob_key(name), 0, stored_size(most) + 1)
    except KeyNotFound:
        if name == wanted:
            raise Damaged(f"{blob_key(name)} is missing from {bucket.location}") from None
        raise Damaged(
            f"{blob_key(name)} is missing from {bucket.location}; {blob_key(wanted)} is stored as "
            "the difference to it"
        ) from None
    if len(stored) <= stored_size(most):
        return stored
    if most < MOST:
        raise _Large
    raise Damaged(f"{blob_key(name)} is damaged: expected at most {stored_size(MOST)} bytes")


def _get_again(bucket: Bucket, name: str, wanted: str, head: Head) -> Buffer:
    """Return the coded form with this head, which was not kept in memory."""
    stored = _get(bucket, name, wanted, MOST)
    if _head(stored, len(stored), blob_key(name)) != head:
        raise Damaged(f"{blob_key(name)} was stored again while it was read")
    return stored


def _head(stored: Buffer, size: int, key: str) -> Head:
    """Return the head of a blob that is size bytes long; raises Damaged."""
    if len(stored) < HEADER.size:
        raise Damaged(
            f"{key} is damaged: expected at least {HEADER.size} bytes, found {len(stored)}"
        )
    magic, codec, raw_size = HEADER.unpack_from(stored)
    if magic == MAGIC and codec in (RAW, CODED) and raw_size > MOST:
        raise Damaged(f"{key} is damaged: expected at most {MOST} raw bytes, found {raw_size}")
    if magic == MAGIC and codec == CODED:
        return parse_head(stored, size, key)
    if bytes(stored[: HEADER.size]) != HEADER.pack(MAGIC, RAW, raw_size):
        raise Damaged(f"{key} is damaged or of a newer format: magic {magic!r}, codec {codec}")
    if size != stored_size(raw_size):
        raise Damaged(f"{key} is damaged: expected {stored_size(raw_size)} bytes, found {size}")
    return Head(RAW, raw_size)
