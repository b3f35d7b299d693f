"""Where the bytes of a damaged blob can be found again: mirrors, checkpoint files, other blobs."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import digest
from kept.errors import Damaged, KeyNotFound
from kept.store.blobs.blob import HEADER, MAGIC, blob_key, read_blob, read_unchecked
from kept.store.blobs.header import MOST
from kept.store.encoding import read_bounded
from kept.store.repair.bits import flipped_back
from kept.store.repair.plan import ASIDE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kept.bucket.base import Bucket, Buffer
    from kept.store.content.manifest import Chunk, Manifest


class Use(NamedTuple):
    """A chunk of a blob, and its place in a file of a version."""

    chunk: Chunk
    path: str  # of the file in the version
    size: int  # of the file
    offset: int  # of the chunk in the file


class Sources:
    """Copies of blobs: in other stores, and in files on the disk."""

    def __init__(self, bucket: Bucket, mirrors: Sequence[Bucket], places: Iterable[str]) -> None:
        """Take the bucket itself, the buckets of mirrors, and files or folders of checkpoints."""
        self._bucket, self.mirrors = bucket, mirrors
        self._files = _Files(places)
        self._displaced: dict[str, str] = {}  # blob -> the blob under whose key its bytes lie
        self._displaced_manifests: dict[str, bytes] = {}
        self._held: dict[str, bytes] = {}  # raw bytes of blobs
        self._aside: dict[str, str] = {}  # blob -> the key below damaged/ that has its bytes
        self._uses: dict[str, list[Use]] = {}

    def add(self, manifest: Manifest) -> None:
        """Note where the files of a version hold the chunks of blobs."""
        for file in manifest.files:
            offset = 0
            for chunk in file.chunks:
                use = Use(chunk, file.path, file.size, offset)
                self._uses.setdefault(chunk.blob, []).append(use)
                offset += chunk.size

    def add_damaged(self, blob: str) -> None:
        """Note what the bytes under the key of a damaged blob are: perhaps those of another one."""
        with contextlib.suppress(Damaged):
            self._displaced[digest(read_unchecked(self._bucket, blob))] = blob

    def add_damaged_manifest(self, key: str) -> None:
        """Note the same of a manifest."""
        data = self._stored(key)
        if data is not None:
            self._displaced_manifests[digest(data)] = bytes(data)

    def add_set_aside(self) -> None:
        """Note what earlier repairs have set aside: one that was cut off leaves whole blobs."""
        for key in self._bucket.keys(f"{ASIDE}blobs/"):
            data = self._stored(key)
            if data is not None and bytes(data[:4]) == MAGIC:
                self._aside[digest(memoryview(data)[HEADER.size :])] = key

    def hold(self, blob: str) -> None:
        """Keep the bytes of other blobs that lie under a blob's key, which is about to be moved."""
        for other, holder in self._displaced.items():
            if holder == blob and (found := self.find(other)):
                self._held[other] = bytes(found[0])

    def find(self, blob: str) -> tuple[Buffer, str] | None:
        """Return the raw bytes of a damaged blob, checked, and where they are from."""
        if blob in self._held:
            return self._held[blob], "found under another name"
        if blob in self._aside and (data := self._stored(self._aside[blob])) is not None:
            return memoryview(data)[HEADER.size :], f"from {self._aside[blob]}"
        if blob in self._displaced:
            with contextlib.suppress(Damaged):
                raw = read_unchecked(self._bucket, self._displaced[blob])
                if digest(raw) == blob:
                    return raw, "found under another name"
        data = self._stored(blob_key(blob))
        right = flipped_back(memoryview(data)[HEADER.size :], blob) if data is not None else None
        if right is not None:
            return right, "one wrong bit corrected"
        for mirror in self.mirrors:
            try:
                return read_blob(mirror, blob), f"from {mirror.location}"
            except Damaged:
                continue
        return self._from_files(blob)

    def manifest(self, key: str, name: str) -> tuple[bytes, str] | None:
        """Return the bytes of a damaged manifest, checked, and where they are from."""
        if name in self._displaced_manifests:
            return self._displaced_manifests[name], "found under another name"
        data = self._stored(key)
        right = flipped_back(data, name) if data is not None else None
        if right is not None:
            return right, "one wrong bit corrected"
        for mirror in self.mirrors:
            copy = _read(mirror, key)
            if copy is not None and digest(copy) == name:
                return bytes(copy), f"from {mirror.location}"
        return None

    def is_in_place(self, key: str, name: str) -> bool:
        """Return whether a manifest itself is sound, and lies under its key."""
        data = self._stored(key)
        return data is not None and digest(data) == name

    def _stored(self, key: str) -> Buffer | None:
        return _read(self._bucket, key)

    def _from_files(self, blob: str) -> tuple[Buffer, str] | None:
        raw, sources = bytearray(), set()
        uses = sorted(self._uses.get(blob, ()), key=lambda use: use.chunk.offset)
        for use in uses:
            if use.chunk.offset < len(raw):
                continue  # the same chunk in another file
            found = self._files.chunk(use)
            if found is None or use.chunk.offset > len(raw):
                return None
            raw += found[0]
            sources.add(found[1])
        if not raw or digest(raw) != blob:
            return None
        return raw, f"from {', '.join(sorted(sources))}"


class _Files:
    """Files on the disk that may hold chunks, by name and by size."""

    def __init__(self, places: Iterable[str]) -> None:
        self._found: dict[str | int, list[str]] = {}
        for path in _below(places):
            try:
                size = os.path.getsize(path)
            except OSError:
                continue
            for key in (os.path.basename(path), size):
                self._found.setdefault(key, []).append(path)

    def chunk(self, use: Use) -> tuple[bytes, str] | None:
        """Return the bytes of a chunk, checked, and the file that has them."""
        name = use.path.rpartition("/")[2]
        for path in dict.fromkeys((*self._found.get(name, ()), *self._found.get(use.size, ()))):
            try:
                with open(path, "rb") as file:
                    file.seek(use.offset)
                    data = file.read(use.chunk.size)
            except OSError:
                continue
            if digest(data) == use.chunk.digest:
                return data, path
        return None


def _below(places: Iterable[str]) -> Iterator[str]:
    for place in places:
        if os.path.isfile(place):
            yield os.path.abspath(place)
        for where, _, names in os.walk(place):
            for name in names:
                path = os.path.join(where, name)
                if os.path.isfile(path):
                    yield os.path.abspath(path)


def _read(bucket: Bucket, key: str) -> Buffer | None:
    try:
        return read_bounded(bucket, key, MOST + HEADER.size)
    except (KeyNotFound, Damaged):
        return None
