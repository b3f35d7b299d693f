"""Reads blobs again and checks them, with the places of the chunks that versions name in them.

The memory that a check takes grows with the number of different chunks, by 150 to 300 bytes each.
Blobs are in memory only as long as they are read.
"""

from __future__ import annotations

import errno
import heapq
import math
import struct
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import digest
from kept.errors import Damaged, KeptError
from kept.parallel import mapped
from kept.store.blobs.blob import bases_of, blob_key, read_blob
from kept.store.content.manifest import Chunk, take_chunk
from kept.store.scrub.refusals import Unread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.base import Bucket
    from kept.store.content.manifest import Manifest

READERS = 8  # blobs in memory at once, mostly of up to 16 MiB
_LARGE = 24 * 1024 * 1024  # raw bytes; larger blobs are read one at a time
_PLACE = struct.Struct(">32sQQ")  # digest, offset and size of a chunk, which comes last
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # of this process, not of a key
READ_ERRORS = (Damaged, OSError)  # of which reason() says whether they concern one key


class BlobFault(NamedTuple):
    """Why the chunks of a blob cannot be read."""

    blob: str
    key: str  # what is damaged or missing: the blob, or one of its bases
    message: str
    places: frozenset[bytes] | None = None  # the chunks it concerns; None for all


class Read(NamedTuple):
    """A blob that was read, and its faults."""

    blob: str
    chunks: int
    size: int  # bytes of the chunks
    faults: list[BlobFault]


class Needs:
    """The blobs that versions need, and the places of chunks in them."""

    def __init__(self) -> None:
        self._places: dict[str, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, manifest: Manifest) -> None:
        """Add the chunks of a version."""
        for chunk in manifest.chunks():
            self._places.setdefault(chunk.blob, set()).add(place_of(chunk))

    def chunks(self, blob: str) -> list[Chunk]:
        """Return the different chunks in a blob, in a fixed order."""
        found = map(_PLACE.unpack, sorted(self._places[blob]))
        return [Chunk(name.hex(), size, blob, offset) for name, offset, size in found]

    def size(self, blob: str) -> int:
        """Return the bytes of the different chunks in a blob."""
        return sum(int.from_bytes(place[-8:]) for place in self._places[blob])

    def end(self, blob: str) -> int:
        """Return the least number of raw bytes that a blob must have."""
        return max(chunk.offset + chunk.size for chunk in self.chunks(blob))

    def identity(self, blob: str) -> bytes:
        """Return a text that differs if other chunks are named in a blob."""
        return b"".join((blob.encode(), *sorted(self._places[blob])))

    def sample(self, share: float, seed: str) -> list[str]:
        """Return a share of the blobs, at least one if there is any; the same for the same seed."""
        count = math.ceil(share * len(self._places))
        if count == len(self._places):
            return sorted(self._places)
        return sorted(heapq.nsmallest(count, self._places, lambda b: digest((seed + b).encode())))


def place_of(chunk: Chunk) -> bytes:
    """Return the digest, offset and size of a chunk in few bytes."""
    return _PLACE.pack(bytes.fromhex(chunk.digest), chunk.offset, chunk.size)


def read_all(bucket: Bucket, needs: Needs, blobs: Iterable[str]) -> Iterator[Read]:
    """Read blobs and yield what each one is; several at a time if calls wait for a network."""
    at_once = min(bucket.concurrency, READERS)
    small: list[str] = []
    large: list[str] = []
    for blob in blobs:
        (large if needs.end(blob) > _LARGE else small).append(blob)
    yield from mapped(lambda blob: read(bucket, needs, blob), small, at_once)
    yield from mapped(lambda blob: read(bucket, needs, blob), large, 1)


def read(bucket: Bucket, needs: Needs, blob: str) -> Read:
    """Read a blob and check it, and each chunk in it."""
    chunks = needs.chunks(blob)
    return Read(blob, len(chunks), needs.size(blob), list(_faults(bucket, blob, chunks)))


def reason(key: str, error: KeptError | OSError) -> str:
    """Return what an error says of a key; raise it again if it does not concern that key alone."""
    if isinstance(error, OSError):
        if error.errno in _SHORTAGES:
            raise error
        return f"{key} cannot be read: {error}"
    return str(error)


def is_missing(bucket: Bucket, key: str) -> bool:
    """Return whether nothing lies under a key."""
    try:
        return bucket.size(key) is None
    except READ_ERRORS:
        return False


def _faults(bucket: Bucket, blob: str, chunks: list[Chunk]) -> Iterator[BlobFault]:
    try:
        raw = read_blob(bucket, blob, lent=True)
    except Unread as error:
        yield BlobFault(blob, error.key, str(error))
        return
    except READ_ERRORS as error:
        yield _culprit(bucket, blob, reason(blob_key(blob), error))
        return
    for chunk in chunks:
        try:
            take_chunk(raw, chunk)
        except Damaged as error:  # the blob is sound, so a manifest names a wrong place
            yield BlobFault(blob, blob_key(blob), str(error), frozenset([place_of(chunk)]))


def _culprit(bucket: Bucket, blob: str, message: str) -> BlobFault:
    """Return the fault of a blob that cannot be read: its own, or that of its farthest bad base."""
    try:
        bases = bases_of(bucket, blob)
    except READ_ERRORS:
        bases = ()
    for base in reversed(bases):
        try:
            read_blob(bucket, base, lent=True)
        except Unread:  # nothing is known about this base, and the blob is damaged
            continue
        except READ_ERRORS as error:
            why = reason(blob_key(base), error)
            text = f"{blob_key(blob)} is the difference to a base that cannot be read: {why}"
            return BlobFault(blob, blob_key(base), text)
    return BlobFault(blob, blob_key(blob), message)
