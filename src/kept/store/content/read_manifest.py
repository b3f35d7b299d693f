"""Reads a manifest from a bucket, and checks every rule of the format."""

from __future__ import annotations

import itertools
import reprlib
from typing import TYPE_CHECKING

from kept.digest import DIGEST, digest
from kept.errors import Damaged, InvalidPath, KeyNotFound
from kept.names import check_paths
from kept.parallel import mapped
from kept.store.blobs.blob import read_blob
from kept.store.blobs.header import MOST
from kept.store.content.manifest import Chunk, File, Manifest, manifest_key, take_chunk
from kept.store.encoding import (
    MOST_MEMORY,
    MOST_VALUE,
    Json,
    again_if_damaged,
    memory_of,
    parse,
    read_bounded,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kept.bucket.base import Bucket, Buffer
    from kept.store.log.history import VersionRecord

_MOST_FILE = 2**63 - 1  # bytes
_SHORT = 200  # characters of a message that come from a manifest
_READ_AHEAD = 4  # blobs; few, because they take memory


def read_manifest(bucket: Bucket, record: VersionRecord) -> Manifest:
    """Return a version's manifest, checked; raises Damaged."""
    return read_with_bytes(bucket, record)[0]


def read_with_bytes(bucket: Bucket, record: VersionRecord) -> tuple[Manifest, Buffer]:
    """Return the same and its stored bytes, which can have keys that this kept does not know."""
    key = manifest_key(record.manifest)
    try:
        data = again_if_damaged(
            lambda: _stored(bucket, key, record.manifest), must_exist=bucket.is_remote
        )
    except KeyNotFound:
        raise Damaged(f"{key} is missing from {bucket.location}") from None
    manifest = decode_manifest(data, key, bucket)
    if (manifest.digest, manifest.size) != (record.digest, record.size):
        raise Damaged(
            f"{key} does not match the log: expected digest {record.digest} and {record.size} "
            f"bytes, found {manifest.digest} and {manifest.size}"
        )
    return manifest, data


def _stored(bucket: Bucket, key: str, name: str) -> Buffer:
    """Return the bytes of the manifest with that digest; raises KeyNotFound or Damaged."""
    data = read_bounded(bucket, key, MOST_VALUE)
    if digest(data) != name:
        raise Damaged(f"{key} is damaged: its {len(data)} bytes have another digest than its name")
    return data


def decode_manifest(
    data: Buffer, key: str, bucket: Bucket, found: Mapping[str, Buffer] | None = None
) -> Manifest:
    """Read the stored form, and check every rule of the format; raises Damaged.

    The parts are read from the bucket, except from the blobs that found maps to their raw bytes.
    The memory that this takes is bounded, whatever the bytes are.
    """
    value = _parsed(data, key)
    try:
        parts = _parts(value)
        lists = _read_parts(parts, key, bucket, found or {}) if parts else iter([value])
        files = tuple(file for each in lists for file in _files(each))
        _check_order(files)
    except (_Malformed, InvalidPath) as error:
        raise Damaged(f"{key} is not a manifest: {_short(str(error))}") from None
    return Manifest(files, parts)


def decode_parts(data: Buffer, key: str) -> tuple[Chunk, ...]:
    """Return the places of a manifest's parts, none if it has none; raises Damaged."""
    try:
        return _parts(_parsed(data, key))
    except _Malformed as error:
        raise Damaged(f"{key} is not a manifest: {_short(str(error))}") from None


def _parsed(data: Buffer, key: str) -> Json:
    if memory_of(bytes(data)) > MOST_MEMORY:
        raise Damaged(f"{key} is damaged: a manifest of {len(data)} bytes has too many values")
    return parse(data, key)


def _read_parts(
    parts: Sequence[Chunk], key: str, bucket: Bucket, found: Mapping[str, Buffer]
) -> Iterator[Json]:
    """Yield the values of parts, one after the other; raises Damaged."""
    if sum(part.size for part in parts) > MOST_VALUE:
        raise Damaged(f"{key} is damaged: its parts have more than {MOST_VALUE} bytes")
    uses: dict[str, list[int]] = {}
    for number, part in enumerate(parts):
        uses.setdefault(part.blob, []).append(number)
    ahead = _READ_AHEAD if bucket.is_remote else 1
    raws = mapped(lambda b: found[b] if b in found else read_blob(bucket, b), uses, ahead)
    texts = [b""] * len(parts)
    for numbers, raw in zip(uses.values(), raws, strict=True):
        for number in numbers:  # copied: a part of kilobytes would hold a blob of megabytes
            texts[number] = bytes(take_chunk(memoryview(raw), parts[number]))
    if sum(map(memory_of, texts)) > MOST_MEMORY:
        raise Damaged(f"{key} is damaged: its parts have too many values")
    for text in texts:
        yield parse(text, key)


class _Malformed(Exception):
    """The JSON of a manifest breaks a rule of the format."""


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"


def _parts(value: Json) -> tuple[Chunk, ...]:
    if not isinstance(value, dict) or "parts" not in value:
        return ()
    blobs = _blobs(value)
    parts = tuple(_chunk(each, blobs) for each in _list(value, "parts"))
    if not parts or "files" in value:
        raise _Malformed("it has either files or parts")
    return parts


def _blobs(value: Json) -> list[str]:
    blobs = _list(value, "blobs")
    if not all(_is_digest(blob) for blob in blobs):
        raise _Malformed("blobs holds something else than digests")
    return blobs


def _files(value: Json) -> tuple[File, ...]:
    blobs = _blobs(value)
    return tuple(_file(item, blobs) for item in _list(value, "files"))


def _check_order(files: tuple[File, ...]) -> None:
    check_paths((file.path for file in files), stored=True)
    for before, after in itertools.pairwise(files):
        if before.path >= after.path:
            raise _Malformed(f"{reprlib.repr(after.path)} is not in the order of paths")


def _list(value: Json, key: str) -> list[Json]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise _Malformed(f"expected an object with the list {key!r}, found {reprlib.repr(found)}")
    return found


def _file(item: Json, blobs: list[str]) -> File:
    chunks = tuple(_chunk(each, blobs) for each in _list(item, "chunks"))
    path, size = item.get("path"), item.get("size")
    if not isinstance(path, str):
        raise _Malformed(f"a path is a text, found {reprlib.repr(path)}")
    if not _is_count(size, _MOST_FILE) or sum(chunk.size for chunk in chunks) != size:
        raise _Malformed(f"the chunks of {reprlib.repr(path)} do not add up to its size")
    return File(path, size, chunks)


def _chunk(item: Json, blobs: list[str]) -> Chunk:
    """Return a chunk: [digest, size], or [digest, size, number of the blob, offset]."""
    if not isinstance(item, list) or len(item) not in (2, 4):
        raise _Malformed(f"a chunk is a list of 2 or 4, found {reprlib.repr(item)}")
    name, size, *place = item
    number, offset = place or (0, 0)
    if place and not _is_count(number, len(blobs) - 1):
        raise _Malformed(f"{reprlib.repr(item)} names no blob")
    if not _is_digest(name):
        raise _Malformed(f"{reprlib.repr(item)} holds no digest")
    if not (_is_count(size, MOST) and _is_count(offset, MOST - size)):
        raise _Malformed(f"{reprlib.repr(item)} does not lie within the {MOST} bytes of a blob")
    return Chunk(name, size, blobs[number] if place else name, offset)


def _is_digest(value: Json) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def _is_count(value: Json, most: int) -> bool:
    return type(value) is int and 0 <= value <= most
