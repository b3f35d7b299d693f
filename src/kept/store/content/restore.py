"""Writes a version's files to the disk: all of them, checked, or none."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kept.bucket.transfer import Transfer
from kept.digest import Hasher
from kept.errors import Damaged, InvalidPath, KeyNotFound
from kept.parallel import in_threads, mapped
from kept.store.blobs.blob import HEADER, MAGIC, RAW, blob_key, is_whole, read_blob, stored_size
from kept.store.content.manifest import take_chunk
from kept.store.content.replace_files import Folders, NewFile, named, put_in_place
from kept.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.content.manifest import Chunk, File, Manifest

READERS = 8  # blobs in memory, mostly of up to 16 MiB
_LOCAL_READERS = 2  # coded blobs keep a core busy; raw bytes are no faster with more
_LARGE = 24 * 1024 * 1024  # bytes; kept makes no larger blobs, and reads others one at a time
_PIECE = 1024 * 1024
_PACKS_IN_MEMORY = 64 * 1024 * 1024  # bytes
_NO_ROOM = {errno.EFBIG, errno.ENOSPC, errno.EDQUOT}


class ChunkReader:
    """Reads chunks and checks every byte. Keeps a few packs, because neighbours share them."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._packs: OrderedDict[str, memoryview] = OrderedDict()  # the one used last is last

    def read(self, chunk: Chunk) -> memoryview:
        """Return a chunk's bytes; raises Damaged."""
        if chunk.blob == chunk.digest:
            return take_chunk(read_blob(self._bucket, chunk.blob), chunk)
        return take_chunk(self._pack(chunk.blob), chunk)

    def _pack(self, blob: str) -> memoryview:
        raw = self._packs.pop(blob, None)
        if raw is None:
            raw = read_blob(self._bucket, blob)
            while self._packs and sum(map(len, self._packs.values())) + len(raw) > _PACKS_IN_MEMORY:
                self._packs.popitem(last=False)
        self._packs[blob] = raw
        return raw


def restore(bucket: Bucket, manifest: Manifest, root: Path, progress: Progress | None) -> None:
    """Write the files below root, and replace files of the same names: all of them, or none.

    Reads every blob once, several at a time if that is faster, and writes it to each place that
    needs it. progress is called from any thread, one call at a time. Raises Damaged, InvalidPath or
    OSError, and then leaves root unchanged.
    """
    folders = Folders()
    try:
        folders.make(root)
        with workspace(os.fspath(root)) as place:
            targets = [_target(root, file) for file in manifest.files]
            files = [NewFile(os.path.join(place, str(n)), t) for n, t in enumerate(targets)]
            _write_all(bucket, manifest, files, progress)
            put_in_place(files, folders)
    except BaseException:
        folders.remove()
        raise


def _write_all(
    bucket: Bucket, manifest: Manifest, files: list[NewFile], progress: Progress | None
) -> None:
    """Write all files in the workspace; reserve nothing for the sizes that a manifest states."""
    for file in files:
        with named(file):
            open(file.path, "xb").close()
    transfer, uses = Transfer(manifest.size, progress), _uses(manifest)
    # Each thread reads, checks and writes: while one waits for the network, others work.
    try:
        in_threads(
            lambda item: transfer.moved(_write_blob(bucket, files, item)),
            uses.items(),
            _readers(bucket, uses),
        )
    except OSError as error:
        if error.errno in _NO_ROOM:
            check_blobs(bucket, {blob: _end(each) for blob, each in uses.items()})
        raise


def _readers(bucket: Bucket, uses: Mapping[str, list[_Use]]) -> int:
    if any(_end(each) > _LARGE for each in uses.values()):
        return 1
    return READERS if bucket.is_remote else _LOCAL_READERS


def _end(uses: list[_Use]) -> int:
    """Return the least number of raw bytes that a blob must have."""
    return max(use.chunk.offset + use.chunk.size for use in uses)


def check_blobs(bucket: Bucket, ends: Mapping[str, int]) -> None:
    """Raise Damaged if blobs are missing, or shorter than these numbers of raw bytes.

    A damaged store may ask for files that no disk can hold. Then the full disk is not the reason.
    """
    whole = mapped(
        lambda item: is_whole(bucket, item[0], least=item[1]), ends.items(), bucket.concurrency
    )
    for (blob, end), is_there in zip(ends.items(), whole, strict=True):
        if not is_there:
            raise Damaged(
                f"{blob_key(blob)} is damaged: it is missing from {bucket.location}, or shorter "
                f"than the {end} bytes that a manifest names"
            )


class _Use(NamedTuple):
    """A place in a file that a chunk is written to."""

    file: int
    offset: int
    chunk: Chunk


def _uses(manifest: Manifest) -> dict[str, list[_Use]]:
    """Return the uses of each blob, in the order in which blobs are first needed."""
    uses: dict[str, list[_Use]] = {}
    for number, file in enumerate(manifest.files):
        offset = 0
        for chunk in file.chunks:
            uses.setdefault(chunk.blob, []).append(_Use(number, offset, chunk))
            offset += chunk.size
    return uses


def _write_blob(bucket: Bucket, files: list[NewFile], item: tuple[str, list[_Use]]) -> int:
    """Write a blob's chunks to all their places; return the number of bytes written."""
    blob, uses = item
    if len(uses) == 1 and blob == uses[0].chunk.digest and not bucket.is_remote:
        with _opened(files[uses[0].file]) as fd:
            if _copied(bucket, uses[0].chunk, fd, uses[0].offset):
                return uses[0].chunk.size
    raw, written = read_blob(bucket, blob, lent=True), 0
    for number, group in itertools.groupby(uses, key=lambda use: use.file):
        with _opened(files[number]) as fd:
            for use in group:
                _write_at(fd, take_chunk(raw, use.chunk), use.offset)
                written += use.chunk.size
    return written


@contextlib.contextmanager
def _opened(file: NewFile) -> Iterator[int]:
    """Yield the file descriptor of a file in the workspace."""
    with named(file), open(file.path, "r+b", buffering=0) as out:
        yield out.fileno()


def _copied(bucket: Bucket, chunk: Chunk, fd: int, offset: int) -> bool:
    """Copy a raw blob that is one chunk, in pieces that stay in the processor's cache.

    Returns False if it is coded, damaged, or gets another form meanwhile: then the caller has to
    read it as a whole.
    """
    key, hasher = blob_key(chunk.blob), Hasher()
    if bucket.size(key) != stored_size(chunk.size):
        return False
    try:
        if bucket.get(key, 0, HEADER.size) != HEADER.pack(MAGIC, RAW, chunk.size):
            return False
        for start in range(0, chunk.size, _PIECE):
            piece = bucket.get(key, HEADER.size + start, min(_PIECE, chunk.size - start))
            hasher.update(piece)
            _write_at(fd, memoryview(piece), offset + start)
    except KeyNotFound:
        return False
    return hasher.hexdigest() == chunk.digest


def _write_at(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


def _target(root: Path, file: File) -> Path:
    """Return the path to write a file to; raises InvalidPath if something is in the way."""
    target = root.joinpath(*file.path.split("/"))
    parent = target.parent
    while not os.path.lexists(parent) and parent != root:
        parent = parent.parent
    if not Path(os.path.realpath(parent)).is_relative_to(os.path.realpath(root)):
        raise InvalidPath(f"{parent} is a link that leads out of {root}. Received: {file.path!r}")
    if not parent.is_dir() or target.is_dir():
        raise InvalidPath(f"{target} cannot be written: a folder is in the way of a file, or a "
                          f"file of a folder. Received: {file.path!r}")  # fmt: skip
    return target
