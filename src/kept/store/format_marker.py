"""kept.json, the key that makes a bucket a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kept.errors import KeyExists, KeyNotFound, NewerFormat, NotAStore, StoreError
from kept.store.encoding import canonical, parse

if TYPE_CHECKING:
    from kept.bucket.base import Bucket

FORMAT = 1
FORMAT_KEY = "kept.json"
_ATTEMPTS = 8  # if the bucket answers "exists" although the key is missing


def check_format(bucket: Bucket) -> bool:
    """Return whether the bucket is a store (True) or empty (False)."""
    try:
        value = parse(bucket.get(FORMAT_KEY), f"{bucket.location}: {FORMAT_KEY}")
    except KeyNotFound:
        found = next(iter(bucket.keys("")), None)
        if found is None:
            return False
        if bucket.size(FORMAT_KEY) is not None:  # another process has just created the store
            return check_format(bucket)
        raise NotAStore(
            f"{bucket.location} is not a store, and not empty (first key: {found}). "
            "Pass a store, or an empty or new folder."
        ) from None
    number = value.get("format") if isinstance(value, dict) else None
    if type(number) is not int or number < 1:
        raise NotAStore(f"{bucket.location}: {FORMAT_KEY} names no format. Found: {value!r}")
    if number > FORMAT:
        raise NewerFormat(
            f"{bucket.location} has format {number}; this kept knows format {FORMAT}. Update kept."
        )
    return True


def make_store(bucket: Bucket) -> None:
    """Make an empty bucket a store, unless another process does; raises OSError if that fails."""
    for attempt in range(_ATTEMPTS):
        try:
            bucket.put_if_absent(FORMAT_KEY, [canonical({"format": FORMAT})])
        except KeyExists:  # S3 also says that of a race that no process has won yet
            time.sleep(0.02 * attempt)
            if not check_format(bucket):
                continue
        return
    raise StoreError(f"{FORMAT_KEY} can neither be created nor read in {bucket.location}")
