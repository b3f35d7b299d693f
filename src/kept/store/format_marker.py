"""kept.json, the key that makes a bucket a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import digest
from kept.errors import Damaged, KeyExists, KeyNotFound, NewerFormat, NotAStore, StoreError
from kept.store.encoding import canonical, parse, read_bounded

if TYPE_CHECKING:
    from kept.bucket.base import Bucket
    from kept.store.encoding import Json

FORMAT = 1  # of a new store
PARTS_FORMAT = 2  # of a store with a manifest in parts, which a reader of format 1 cannot read
FORMAT_KEY = "kept.json"
_MOST = 4096  # bytes
_ATTEMPTS = 8  # if the bucket answers "exists" although the key is missing


class Marker(NamedTuple):
    """What a bucket's kept.json says."""

    exists: bool  # False if the bucket is empty
    problem: str | None = None  # why kept.json cannot be read, if the bucket holds a store anyway


def check_format(bucket: Bucket) -> Marker:
    """Return whether the bucket is a store or empty; raises NotAStore, NewerFormat or Damaged.

    A store whose kept.json is damaged or lost can be read, but not changed.
    """
    try:
        value = parse(read_bounded(bucket, FORMAT_KEY, _MOST), FORMAT_KEY)
        number = _number(value)
    except KeyNotFound:
        return _without_marker(bucket)
    except Damaged as error:
        if _looks_like_a_store(bucket):
            return Marker(exists=True, problem=f"{error}. Run kept repair.")
        raise Damaged(f"{bucket.location}: {error}") from None
    if number is None:
        if _looks_like_a_store(bucket):
            return Marker(exists=True, problem=f"{FORMAT_KEY} names no format. Run kept repair.")
        raise NotAStore(f"{bucket.location}: {FORMAT_KEY} names no format. Found: {value!r}")
    if number > PARTS_FORMAT:
        raise NewerFormat(
            f"{bucket.location} has format {number}; this kept knows the formats up to "
            f"{PARTS_FORMAT}. Update kept."
        )
    return Marker(exists=True)


def _without_marker(bucket: Bucket) -> Marker:
    found = next(iter(bucket.keys("")), None)
    if found is None:
        return Marker(exists=False)
    if bucket.size(FORMAT_KEY) is not None:  # another process has just created the store
        return check_format(bucket)
    if _looks_like_a_store(bucket):
        return Marker(exists=True, problem=f"{FORMAT_KEY} is missing. Run kept repair.")
    raise NotAStore(
        f"{bucket.location} is not a store, and not empty (first key: {found}). "
        "Pass a store, or an empty or new folder."
    )


def _looks_like_a_store(bucket: Bucket) -> bool:
    """Return whether the bucket has a log of an artifact."""
    names = bucket.folders("artifacts/")
    return any("log" in bucket.folders(f"artifacts/{name}/") for name in names)


def _number(value: Json) -> int | None:
    """Return the number of the format, None if the value names none; raises Damaged.

    An earlier kept wrote it without a checksum.
    """
    number = value.get("format") if isinstance(value, dict) else None
    if type(number) is not int or number < 1:
        return None
    if value.get("blake3", _checksum(number)) != _checksum(number):
        raise Damaged(f"{FORMAT_KEY} is damaged: format {number} does not match its checksum")
    return number


def _checksum(number: int) -> str:
    return digest(canonical(number))


def encoded_marker(number: int = FORMAT) -> bytes:
    """Return the value of kept.json for a format."""
    return canonical({"blake3": _checksum(number), "format": number})


def raise_format(bucket: Bucket) -> None:
    """Make the store one of PARTS_FORMAT, before it gets the first manifest in parts.

    An older kept refuses the whole store from then on. Otherwise it would call such a version
    damaged. The number only ever grows, so writers need not agree. Raises Damaged.
    """
    value = parse(read_bounded(bucket, FORMAT_KEY, _MOST), FORMAT_KEY)
    if _number(value) == FORMAT:
        bucket.put(FORMAT_KEY, [encoded_marker(PARTS_FORMAT)])


def make_store(bucket: Bucket) -> None:
    """Make an empty bucket a store, unless another process does; raises OSError if that fails."""
    for attempt in range(_ATTEMPTS):
        try:
            bucket.put_if_absent(FORMAT_KEY, [encoded_marker()])
        except KeyExists:  # S3 also says that of a race that no process has won yet
            time.sleep(0.02 * attempt)
            marker = check_format(bucket)
            if marker.problem:
                raise Damaged(f"{bucket.location}: {marker.problem}") from None
            if not marker.exists:
                continue
        return
    raise StoreError(f"{FORMAT_KEY} can neither be created nor read in {bucket.location}")
