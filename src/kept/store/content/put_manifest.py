"""Stores manifests so that a gc sees who may need them; see docs/format.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import KeyExists
from kept.store.content.manifest import manifest_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.bucket.base import Bucket

SHARED = "shared/"  # manifests that were stored more than once


def put_manifest(bucket: Bucket, name: str, encoded: bytes, *, is_repeated: bool = False) -> None:
    """Store a manifest; if it exists, note that another version may need it, and store it again.

    Pass is_repeated for the content of the newest version: it needs no note. The second put renews
    the time of storing, which a gc compares, and repairs a damaged value.
    """
    key = manifest_key(name)
    try:
        bucket.put_if_absent(key, [encoded])
    except KeyExists:
        if not is_repeated:
            bucket.put(shared_key(name), [b""])
        bucket.put(key, [encoded])


def shared_key(name: str) -> str:
    """Return the key that notes that a manifest was stored more than once."""
    return f"{SHARED}{name}"


def forget_shared(bucket: Bucket, keys: Iterable[str]) -> None:
    """Remove the notes of manifests that a gc deletes next: no version needs them."""
    noted = set(bucket.keys(SHARED))
    for key in noted & {shared_key(key.rpartition("/")[2].removesuffix(".json")) for key in keys}:
        bucket.delete(key)
