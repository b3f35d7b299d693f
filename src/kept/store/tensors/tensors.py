"""The tensors of a version, or of files on the disk: listed without their values, and read."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from kept.errors import InvalidInput
from kept.store.tensors.find import UNREADABLE, find_tensors, hdf5_place, may_have_tensors
from kept.store.tensors.hdf5 import read_attributes, read_rows
from kept.store.tensors.kinds import decoded, width_of
from kept.store.tensors.optimizer_names import MOST, STATE, with_optimizer_names
from kept.store.tensors.packed import read_member, read_small_member
from kept.store.tensors.sources import ChunkIndex, PartReader, VersionSource, disk_sources

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import numpy as np

    from kept.bucket.base import Bucket
    from kept.store.content.manifest import Manifest
    from kept.store.tensors.sources import DiskSource
    from kept.store.tensors.tensor import Piece, StoredTensor

BLOCK = 1024 * 1024  # elements that are in memory at once
# Sizes of chunks that are likely parts of a tensor, so HDF5 needs none of their bytes. The first
# one fits models of small layers; if metadata lie in such chunks, the next one is tried.
_HIDDEN = (8 * 1024, 32 * 1024, 1024 * 1024, None)


class Tensors:
    """The tensors of a version, or of files on the disk.

    One thread at a time may use it; `again` returns another one for another thread.
    """

    def __init__(
        self,
        sources: list[VersionSource] | list[DiskSource],
        closing: contextlib.ExitStack | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        """Take the bucket of a version, or what closes the files on the disk."""
        self._sources = {source.path: source for source in sources}
        self._index: dict[str, ChunkIndex] = {}
        self._closing = closing or contextlib.ExitStack()
        self._bucket = bucket
        self._last: VersionSource | DiskSource | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[StoredTensor]:
        return iter(self.every)

    def __len__(self) -> int:
        return len(self.every)

    def close(self) -> None:
        """Close files of the disk; raises InvalidPath if one has changed since it was opened."""
        self._closing.close()

    @property
    def bytes_read(self) -> int:
        """The bytes of files, or of chunks of a version, that were read so far."""
        return sum(source.bytes_read for source in self._sources.values())

    @property
    def sources(self) -> dict[str, VersionSource | DiskSource]:
        """The files by their paths, those without tensors too."""
        return dict(self._sources)

    @cached_property
    def every(self) -> tuple[StoredTensor, ...]:
        """All tensors, file by file, in the order of their bytes; raises Damaged."""
        paths = filter(may_have_tensors, self._sources)
        return tuple(tensor for path in paths for tensor in self._named_in(self._at(path)))

    def _at(self, path: str) -> VersionSource | DiskSource:
        """Return a file; one file at a time keeps chunks in memory."""
        source = self._sources[path]
        if self._last is not source and self._last is not None:
            self._last.release()
        self._last = source
        return source

    def _named_in(self, source: VersionSource | DiskSource) -> list[StoredTensor]:
        found = _tensors_in(source)
        state = self._sources.get(f"{source.path.rpartition('/')[0]}/{STATE}".lstrip("/"))
        if state is None or state.size > MOST or not any(t.is_optimizer for t in found):
            return found
        return with_optimizer_names(found, bytes(state.read(0, state.size)))

    def pieces(self, tensor: StoredTensor) -> tuple[Piece, ...]:
        """Return the parts of chunks that hold a tensor's bytes."""
        if tensor.file not in self._index:
            self._index[tensor.file] = ChunkIndex(self._sources[tensor.file].chunks)
        return self._index[tensor.file].pieces(tensor.ranges)

    def blobs(self, tensor: StoredTensor) -> tuple[str, ...]:
        """Return the blobs that a tensor lies in; none for a file on the disk."""
        return tuple(dict.fromkeys(piece.blob for piece in self.pieces(tensor) if piece.blob))

    def blocks(
        self, tensor: StoredTensor, start: int = 0, stop: int | None = None, most: int = BLOCK
    ) -> Iterator[np.ndarray[Any, Any]]:
        """Yield a tensor's elements in their stored order, up to `most` at once.

        start and stop are numbers of elements; only a plain tensor can be read in part. bfloat16
        and float8 are float32 here. Raises Damaged.
        """
        source, stop = self._at(tensor.file), tensor.size if stop is None else stop
        with _named(source, tensor.path):
            if tensor.is_plain:
                width, begin = width_of(tensor.dtype), tensor.ranges[0][0]
                for at in range(start, stop, most):
                    end = min(at + most, stop)
                    data = source.read(begin + at * width, begin + end * width)
                    yield decoded(data, tensor.dtype, is_big_endian=tensor.is_big_endian)
            elif tensor.file.lower().endswith(".npz"):
                yield from read_member(source, tensor, most)
            elif place := hdf5_place(source):
                yield from read_rows(source, place, tensor.path, tensor.dtype, most)

    def values(self, tensor: StoredTensor) -> np.ndarray[Any, Any]:
        """Return a tensor's elements as one array of its shape; raises Damaged."""
        import numpy as np

        found = list(self.blocks(tensor)) or [decoded(b"", tensor.dtype)]
        flat: np.ndarray[Any, Any] = np.concatenate(found)
        return np.reshape(flat, tensor.shape, order="F" if tensor.is_fortran else "C")

    def attributes(self, path: str, *names: str) -> dict[str, str]:
        """Return those of the named attributes of an HDF5 file that are texts; raises Damaged."""
        source = self._at(path)
        with _named(source, path):
            place = hdf5_place(source)
            return read_attributes(source, place, *names) if place else {}

    def member(self, path: str, name: str) -> bytes:
        """Return a member of a zip file; empty if it is missing or very large; raises Damaged."""
        source = self._at(path)
        with _named(source, name):
            return read_small_member(source, name)

    def again(self) -> Tensors:
        """Return the same files for another thread; only this one closes them."""
        reader = PartReader(self._bucket) if self._bucket else None
        sources: Any = [source.again(reader) for source in self._sources.values()]  # type: ignore[arg-type]
        return Tensors(sources, bucket=self._bucket)


def tensors_of(bucket: Bucket, manifest: Manifest) -> Tensors:
    """Return the tensors of a version; nothing is read yet."""
    reader = PartReader(bucket)
    return Tensors([VersionSource(bucket, file, reader) for file in manifest.files], bucket=bucket)


def tensors_at(path: str | os.PathLike[str]) -> Tensors:
    """Return the tensors in a file or a folder on the disk; close it at the end.

    Raises InvalidPath if the path does not exist.
    """
    import os

    closing = contextlib.ExitStack()
    try:
        return Tensors(list(disk_sources(os.fspath(path), closing)), closing)
    except BaseException:
        closing.close()
        raise


def _tensors_in(source: VersionSource | DiskSource) -> list[StoredTensor]:
    """Return the tensors of a file; none for a file that is damaged or of another format."""
    source.failed = None
    for least in _HIDDEN:
        source.hides(least)
        try:
            found = find_tensors(source.path, source)
        except UNREADABLE:
            found = []
        if source.failed is not None:
            raise source.failed
        ranges = [place for tensor in found for place in tensor.ranges]
        if found and source.are_values(ranges):
            break
    source.hides(None)
    return found


@contextlib.contextmanager
def _named(source: VersionSource | DiskSource, what: str) -> Iterator[None]:
    """Raise Damaged for chunks that are damaged, and InvalidInput for other damage of a file."""
    source.failed = None
    try:
        yield
    except UNREADABLE as error:
        if source.failed is not None:
            raise source.failed from None
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{what} in {source.path} cannot be read: {error}") from None
