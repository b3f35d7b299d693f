"""Writes a version's files to the disk: all of them, checked, or none."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kept.bucket.transfer import Transfer
from kept.digest import Hasher
from kept.errors import InvalidPath, KeyNotFound
from kept.parallel import in_threads
from kept.store.blobs.blob import HEADER, MAGIC, RAW, blob_key, read_blob, stored_size
from kept.store.content.manifest import take_chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.content.manifest import Chunk, File, Manifest

READERS = 8  # blobs in memory, mostly of up to 16 MiB
_LOCAL_READERS = 2  # coded blobs keep a core busy; raw bytes are no faster with more
_PIECE = 1024 * 1024
_PACKS_IN_MEMORY = 8


class ChunkReader:
    """Reads chunks and checks every byte. Keeps a few packs, because neighbours share them."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._pack = functools.lru_cache(_PACKS_IN_MEMORY)(functools.partial(read_blob, bucket))

    def read(self, chunk: Chunk) -> memoryview:
        """Return a chunk's bytes; raises Damaged."""
        if chunk.blob == chunk.digest:
            return take_chunk(read_blob(self._bucket, chunk.blob), chunk)
        return take_chunk(self._pack(chunk.blob), chunk)


def restore(bucket: Bucket, manifest: Manifest, root: Path, progress: Progress | None) -> None:
    """Write the files below root, and replace files of the same names.

    Reads every blob once, several at a time if that is faster, and writes it to each place that
    needs it. progress is called from any thread, one call at a time. Raises Damaged or InvalidPath,
    and then leaves root unchanged.
    """
    with _folder(root), _workspace(root) as workspace:
        targets = [_target(root, file) for file in manifest.files]
        for number, file in enumerate(manifest.files):
            (workspace / str(number)).touch()
            os.truncate(workspace / str(number), file.size)
        transfer = Transfer(manifest.size, progress)
        # Each thread reads, checks and writes: while one waits for the network, others work.
        in_threads(
            lambda item: transfer.moved(_write_blob(bucket, workspace, item)),
            _uses(manifest).items(),
            READERS if bucket.is_remote else _LOCAL_READERS,
        )
        for number, target in enumerate(targets):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(workspace / str(number), target)


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


def _write_blob(bucket: Bucket, workspace: Path, item: tuple[str, list[_Use]]) -> int:
    """Write a blob's chunks to all their places; return the number of bytes written."""
    blob, uses = item
    if len(uses) == 1 and blob == uses[0].chunk.digest and not bucket.is_remote:
        with open(workspace / str(uses[0].file), "r+b", buffering=0) as out:
            if _copied(bucket, uses[0].chunk, out.fileno(), uses[0].offset):
                return uses[0].chunk.size
    raw, written = read_blob(bucket, blob, lent=True), 0
    for number, group in itertools.groupby(uses, key=lambda use: use.file):
        with open(workspace / str(number), "r+b", buffering=0) as out:
            for use in group:
                _write_at(out.fileno(), take_chunk(raw, use.chunk), use.offset)
                written += use.chunk.size
    return written


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


@contextlib.contextmanager
def _folder(root: Path) -> Iterator[None]:
    """Make root; after an error, remove it again if it is new and empty."""
    is_new = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                root.rmdir()
        raise


@contextlib.contextmanager
def _workspace(root: Path) -> Iterator[Path]:
    # Below root, so that moving a file to its place is a rename and no copy.
    path = Path(tempfile.mkdtemp(prefix=".kept-", dir=root))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


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
