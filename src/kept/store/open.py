"""Opening the store at a location."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kept.bucket.open import bucket_at
from kept.store.store import Store

if TYPE_CHECKING:
    from kept.bucket.base import Bucket


def open_store(location: str | os.PathLike[str] | None = None) -> Store:
    """Open the store at a folder or URL; it is created with the first version.

    location defaults to $KEPT_STORE, and without that to ./kept-store. A folder is written as a
    path or as file:///path, object storage as s3://bucket/prefix, gs://bucket/prefix or
    az://container/prefix with the credentials in the cloud's own environment variables; memory:
    is a new store in this process's memory.

    Raises NotAStore, NewerFormat, InvalidInput or RemoteError.
    """
    return Store(open_bucket(location))


def open_bucket(location: str | os.PathLike[str] | None = None) -> Bucket:
    """Return the bucket at a location as open_store takes it; nothing is read of it yet."""
    text = os.fspath(location) if location is not None else os.environ.get("KEPT_STORE")
    return bucket_at(text or "kept-store")
