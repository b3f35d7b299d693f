"""Opens the bucket at a location."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kept.errors import InvalidInput, NotAStore

if TYPE_CHECKING:
    from kept.bucket.base import Bucket


def bucket_at(text: str) -> Bucket:
    """Return the bucket at a location, in the form of open_store.

    Raises InvalidInput, or NotAStore for a file.
    """
    from kept.bucket.local import LocalBucket
    from kept.bucket.location import is_remote
    from kept.bucket.memory import MemoryBucket

    scheme, separator, rest = text.partition("://")
    if text in ("memory:", "memory://"):
        return MemoryBucket()
    if not separator:
        return LocalBucket(_folder(text))
    if scheme == "file" and rest.startswith("/"):
        from urllib.parse import unquote

        return LocalBucket(unquote(rest))
    if is_remote(text):
        from kept.bucket.object_storage.bucket import ObjectBucket

        return ObjectBucket(text)
    raise _unknown(f"{scheme}://…")


def _folder(text: str) -> str:
    """Return the path of a folder, or raise InvalidInput for what can only be a mistake."""
    from kept.bucket.location import SCHEMES

    path = os.path.expanduser(text)
    scheme, colon, _ = text.partition(":")
    is_url = colon and scheme.lower() in {*SCHEMES, "file", "http", "https", "memory"}
    if is_url and not os.path.isdir(path):  # s3:/bucket, with one slash
        raise _unknown(text)
    if os.path.isfile(path):
        raise NotAStore(f"{path} is a file. Pass a store, or an empty or new folder.")
    return path


def _unknown(received: str) -> InvalidInput:
    return InvalidInput(
        "A store is a folder, a file:///path, s3://, gs://, az:// or memory:. "
        f"Received: {received!r}"
    )
