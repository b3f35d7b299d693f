"""kept.json, the key that makes a bucket a store: its format, and its identity."""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import digest
from kept.errors import (
    Damaged,
    KeyExists,
    KeyNotFound,
    NewerFormat,
    NotAStore,
    StoreError,
    StoreReplaced,
    Unreadable,
)
from kept.store.encoding import again_if_damaged, canonical, parse, read_bounded

if TYPE_CHECKING:
    from kept.bucket.base import Bucket
    from kept.store.encoding import Json

FORMAT = 1  # of a new store
PARTS_FORMAT = 2  # of a store with a manifest in parts, which a reader of format 1 cannot read
EVENTS_FORMAT = 3  # of a store with events that a reader of format 2 does not know
FORMAT_KEY = "kept.json"
_MOST = 4096  # bytes
_ATTEMPTS = 8  # if the bucket answers "exists" although the key is missing
_PAUSE = 0.1  # seconds between two looks at a kept.json that is found and not read
_ID = re.compile(r"[0-9a-f]{32}")
# What a writer can leave in a place that was emptied while it wrote: no version is among it.
_LEFTOVER = re.compile(
    r"blobs/[0-9a-f]{2}/[0-9a-f]{64}|manifests/[0-9a-f]{2}/[0-9a-f]{64}\.json|(new|tmp)/.*"
)


class Marker(NamedTuple):
    """What a bucket's kept.json says."""

    exists: bool  # False if the bucket is empty
    problem: str | None = None  # why kept.json cannot be read, if the bucket holds a store anyway
    id: str | None = None  # of the store; an earlier kept gave it none
    format: int = FORMAT


def known_id(marker: Marker | None) -> str:
    """Return the id of a store by its marker, empty if it has none or does not exist yet."""
    return (marker.id if marker else None) or ""


def check_format(bucket: Bucket, attempts: int = _ATTEMPTS) -> Marker:
    """Return whether the bucket is a store or empty; raises NotAStore, NewerFormat or Damaged.

    Raises StoreError if kept.json is found and cannot be read in that number of attempts.

    A store whose kept.json is damaged or lost can be read, but not changed.
    """
    try:
        value, number, store_id = again_if_damaged(lambda: _read_marker(bucket))
    except KeyNotFound:
        return _without_marker(bucket, attempts)
    except Damaged as error:
        if _looks_like_a_store(bucket):
            return Marker(exists=True, problem=f"{error}. Run kept repair.")
        if isinstance(error, Unreadable):
            raise
        raise Damaged(f"{bucket.location}: {error}") from None
    if number is None:
        if _looks_like_a_store(bucket):
            return Marker(exists=True, problem=f"{FORMAT_KEY} names no format. Run kept repair.")
        raise NotAStore(f"{bucket.location}: {FORMAT_KEY} names no format. Found: {value!r}")
    if number > EVENTS_FORMAT:
        raise NewerFormat(
            f"{bucket.location} has format {number}; this kept knows the formats up to "
            f"{EVENTS_FORMAT}. Update kept."
        )
    return Marker(exists=True, id=store_id, format=number)


def _read_marker(bucket: Bucket) -> tuple[Json, int | None, str | None]:
    """Return the value of kept.json, its format and its id; raises KeyNotFound or Damaged."""
    value = parse(read_bounded(bucket, FORMAT_KEY, _MOST), FORMAT_KEY)
    number = _number(value)
    return value, number, _id_in(value) if number else None


def _without_marker(bucket: Bucket, attempts: int) -> Marker:
    found = next(iter(bucket.keys("")), None)
    if found is None:
        return Marker(exists=False)
    if bucket.size(FORMAT_KEY) is not None:  # another process has just created the store
        if attempts <= 1:
            raise StoreError(
                f"{bucket.location}: a request for the length of {FORMAT_KEY} finds it, a request "
                "for its value does not. A cache before the bucket may keep old answers: wait "
                "until they expire, or use the bucket's own endpoint."
            )
        time.sleep(_PAUSE)
        return check_format(bucket, attempts - 1)
    if _looks_like_a_store(bucket):
        return Marker(exists=True, problem=f"{FORMAT_KEY} is missing. Run kept repair.")
    if all(map(_LEFTOVER.fullmatch, bucket.keys(""))):
        return Marker(exists=False)
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


def _id_in(value: Json) -> str | None:
    """Return the id of a store, None if it has none; raises Damaged.

    It has a checksum of its own, because an earlier kept expects blake3 to be that of the format.
    """
    found, checksum = value.get("id"), value.get("id_blake3")
    if found is None and checksum is None:
        return None
    if type(found) is not str or not _ID.fullmatch(found) or checksum != digest(canonical(found)):
        raise Damaged(f"{FORMAT_KEY} is damaged: the id does not match its checksum")
    return found


def left_id(bucket: Bucket) -> str | None:
    """Return the id in a kept.json whose other part is damaged; None if it is not whole."""
    with contextlib.suppress(Damaged, KeyNotFound):
        value = parse(read_bounded(bucket, FORMAT_KEY, _MOST), FORMAT_KEY)
        return _id_in(value) if isinstance(value, dict) else None
    return None


def is_id(text: str) -> bool:
    """Return whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def new_id() -> str:
    """Return the id of a new store."""
    return os.urandom(16).hex()


def encoded_marker(number: int = FORMAT, store_id: str | None = None) -> bytes:
    """Return the value of kept.json for a format, and a store's id if it has one."""
    identity = {"id": store_id, "id_blake3": digest(canonical(store_id))} if store_id else {}
    return canonical({"blake3": _checksum(number), "format": number} | identity)


def check_identity(bucket: Bucket, store_id: str | None) -> None:
    """Raise StoreReplaced unless the bucket still holds the store with this id, if known.

    Costs one request. Raises Damaged if kept.json is damaged.
    """
    try:
        marker = check_format(bucket)
    except NotAStore as error:
        raise StoreReplaced(str(error)) from None
    if not marker.exists:
        raise StoreReplaced(
            f"{bucket.location} was emptied since it was opened: {FORMAT_KEY} is missing. Nothing "
            "is written there until it is opened again."
        )
    if marker.problem:
        raise Damaged(f"{bucket.location}: {marker.problem}")
    if store_id and marker.id and marker.id != store_id:
        raise StoreReplaced(
            f"{bucket.location} holds another store since it was opened: expected the id "
            f"{store_id}, found {marker.id}. Nothing is written there until it is opened again."
        )


def raise_format(bucket: Bucket, least: int) -> None:
    """Let a store have at least this format, before it gets the first value that needs it.

    An older kept refuses the whole store from then on. Otherwise it would call such a value
    damaged. The number only ever grows, and it grows to the newest format at once, so writers need
    not agree. Raises Damaged.
    """
    value = parse(read_bounded(bucket, FORMAT_KEY, _MOST), FORMAT_KEY)
    number = _number(value)
    if number is not None and number < least:
        bucket.put(FORMAT_KEY, [encoded_marker(EVENTS_FORMAT, _id_in(value))])


def make_store(bucket: Bucket) -> str | None:
    """Make an empty bucket a store, unless another process does; return the id of the store.

    Raises OSError if that fails.
    """
    store_id = new_id()
    for attempt in range(_ATTEMPTS):
        try:
            bucket.put_if_absent(FORMAT_KEY, [encoded_marker(FORMAT, store_id)])
        except KeyExists:  # S3 also says that of a race that no process has won yet
            time.sleep(0.02 * attempt)
            marker = check_format(bucket)
            if marker.problem:
                raise Damaged(f"{bucket.location}: {marker.problem}") from None
            if not marker.exists:
                continue
            return marker.id
        return store_id
    raise StoreError(f"{FORMAT_KEY} can neither be created nor read in {bucket.location}")
