"""Opens the bucket at a location."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kept.errors import InvalidInput

if TYPE_CHECKING:
    from kept.bucket.base import Bucket


def bucket_at(text: str) -> Bucket:
    """Return the bucket at a location, in the form of open_store; raises InvalidInput."""
    from kept.bucket.local import LocalBucket
    from kept.bucket.location import is_remote
    from kept.bucket.memory import MemoryBucket

    scheme, separator, rest = text.partition("://")
    if text in ("memory:", "memory://"):
        return MemoryBucket()
    if not separator:
        return LocalBucket(os.path.expanduser(text))
    if scheme == "file" and rest.startswith("/"):
        from urllib.parse import unquote

        return LocalBucket(unquote(rest))
    if is_remote(text):
        from kept.bucket.object_storage.bucket import ObjectBucket

        return ObjectBucket(text)
    raise InvalidInput(
        "A store is a folder, a file:///path, s3://, gs://, az:// or memory:. "
        f"Received: {scheme + '://…'!r}"
    )
