"""Opens the store at a location."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kept.bucket.open import bucket_at
from kept.errors import InvalidInput
from kept.store.store import Store

if TYPE_CHECKING:
    from kept.bucket.base import Bucket
    from kept.store.signing.keys import Keys


def open_store(
    location: str | os.PathLike[str] | None = None, *, require_signed: Keys | None = None
) -> Store:
    """Open the store at a folder or URL; the first version creates it.

    location defaults to $KEPT_STORE, and without that to ./kept-store. Pass a folder as a path or
    as file:///path. Pass object storage as s3://bucket/prefix, gs://bucket/prefix or
    az://container/prefix; the credentials are in the cloud's own environment variables. memory: is
    a new store in this process's memory.

    With require_signed, the file of a public key or several such files, the store gives the content
    of a version only if one of these keys has signed it: download, load_model, load_weights and
    resuming raise NotSigned for any other version. It defaults to $KEPT_REQUIRE_SIGNED.

    Raises NotAStore, NewerFormat, InvalidInput or RemoteError.
    """
    return Store(open_bucket(location), require_signed=require_signed)


def open_bucket(location: str | os.PathLike[str] | None = None) -> Bucket:
    """Return the bucket at a location, in the form of open_store; reads nothing of it yet."""
    if location is None:
        return bucket_at(os.environ.get("KEPT_STORE") or "kept-store")
    if not isinstance(location, (str, os.PathLike)):
        raise InvalidInput(f"A store is opened by its folder or URL. Received: {location!r}")
    return bucket_at(os.fspath(location) or "kept-store")
