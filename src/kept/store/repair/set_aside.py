"""Moves damaged values out of the way, so that a writer with the right bytes writes them again."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from kept.digest import DIGEST
from kept.errors import KeyExists
from kept.store.blobs.blob import blob_key
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


def keep_copy(bucket: Bucket, key: str, value: Buffer) -> str:
    """Store a copy of a key's value below damaged/, because it will be replaced."""
    for target in _targets(key):
        try:
            bucket.put_if_absent(target, [value])
        except KeyExists:
            continue
        return target
    raise AssertionError("targets has no end")


def _targets(key: str) -> Iterator[str]:
    yield ASIDE + key
    yield from (f"{ASIDE}{key}.{number}" for number in itertools.count(2))
