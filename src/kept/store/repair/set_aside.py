"""Moves damaged values out of the way, so that a writer with the right bytes writes them again."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from kept.digest import DIGEST, digest
from kept.errors import Damaged, KeyExists, KeyNotFound
from kept.store.blobs.blob import HEADER, bases_lock, blob_key, raw_form, read_blob
from kept.store.log.fence import mark_damaged
from kept.store.repair.plan import ASIDE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket, Buffer


def set_aside(bucket: Bucket, key: str) -> str:
    """Move the value of a key below damaged/; return its new key. Raises KeyNotFound.

    A blob is marked before, because writers to object storage believe that it exists otherwise.
    """
    blob = key.rpartition("/")[2]
    if DIGEST.fullmatch(blob) and key == blob_key(blob):
        mark_damaged(bucket, blob)
    for target in _targets(key):
        try:
            bucket.move(key, target)
        except KeyExists:
            continue
        return target
    raise AssertionError("targets has no end")


def set_aside_blob(bucket: Bucket, blob: str) -> str | None:
    """Set a blob aside if it is damaged; return what became of it, None if it is sound.

    A missing blob is marked only. Raises Damaged if this process may not read it, and OSError or
    RemoteError if it cannot be read now: that is no proof of damage.
    """
    key = blob_key(blob)
    with bases_lock(bucket, wait=True):  # so that no compactor replaces it meanwhile
        try:
            read_blob(bucket, blob, lent=True)
            return None
        except Damaged as error:
            if isinstance(error.__cause__, PermissionError):
                raise
        try:
            target = set_aside(bucket, key)
        except KeyNotFound:
            return "is missing"
        if _is_whole(bucket, target, blob):  # a writer replaced it at the last moment
            with contextlib.suppress(KeyExists):
                bucket.move(target, key)
            return None
    return f"is damaged, and lies in {target} now"


def keep_copy(bucket: Bucket, key: str, value: Buffer) -> str:
    """Store a copy of a key's value below damaged/, because it will be replaced."""
    for target in _targets(key):
        try:
            bucket.put_if_absent(target, [value])
        except KeyExists:
            continue
        return target
    raise AssertionError("targets has no end")


def _is_whole(bucket: Bucket, key: str, blob: str) -> bool:
    """Return whether the raw form of a blob lies under a key; writers store no other one."""
    try:
        value = memoryview(bucket.get(key))
    except (Damaged, KeyNotFound):
        return False
    [head, raw] = raw_form([value[HEADER.size :]])
    return value[: HEADER.size] == head and digest(raw) == blob


def _targets(key: str) -> Iterator[str]:
    yield ASIDE + key
    yield from (f"{ASIDE}{key}.{number}" for number in itertools.count(2))
