"""Cuts files into chunks so that an unchanged tensor is an unchanged chunk.

Checkpoints keep their tensors at known places: an HDF5 file (.weights.h5, .h5) as contiguous
datasets, a .keras file as an uncompressed zip around such an HDF5 file. Cutting along these
places finds unchanged tensors even though the file around them (a date, checksums) differs with
every save. Any other file is cut into blocks of BLOCK bytes.

The sizes are a balance. A tensor of SMALL bytes or more is one chunk; smaller neighbours share a
chunk, because each chunk costs some 70 bytes of manifest. So a small change stores at most SMALL
unchanged bytes again on either side.
"""

from __future__ import annotations

import zipfile
from contextlib import closing
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from kept.store.blobs.header import WIDTHS
from kept.store.content.file_source import MemoryFile, Positioned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import h5py

    from kept.bucket.base import Buffer
    from kept.store.content.file_source import FileSource

SMALL = 4 * 1024
BLOCK = 4 * 1024 * 1024
LARGEST = 16 * 1024 * 1024
HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
_ZIP_LOCAL_HEADER = 30  # bytes before the name; its last four are the lengths of name and extra

Range = tuple[int, int]  # first byte, first byte after


class Tensor(NamedTuple):
    """The place of a tensor, or of a part of one, in its file, and the kind of its elements."""

    start: int
    stop: int
    name: str = ""  # the same in every version of a file; "" if it is no tensor
    width: int = 1  # bytes of an element, or of each number in it
    is_big_endian: bool = False


class Member(NamedTuple):
    """A member of a zip file, and the place of its bytes."""

    name: str
    start: int
    size: int  # of the bytes in the file
    is_plain: bool  # not compressed

    @property
    def stop(self) -> int:
        """The first byte after it."""
        return self.start + self.size


class MappedFile(MemoryFile):
    """A file in memory; its maker knows the places of its tensors, so no reader looks for them."""

    def __init__(self, name: str, parts: Iterable[Buffer], found: Iterable[Range]) -> None:
        """Take the places that tensors() would find, in order."""
        super().__init__(name, parts)
        self.found = [Tensor(start, stop) for start, stop in found]


def cut(source: FileSource) -> list[Range]:
    """Return the chunks of a file: ranges that follow each other and cover it."""
    found = source.found if isinstance(source, MappedFile) else tensors(source)
    if not found:
        return list(_split(0, source.size, BLOCK))
    return list(_along(found, source.size))


def tensors(source: FileSource) -> list[Tensor]:
    """Return the places of tensors, or of whole zip members, in a file, in order."""
    try:
        return sorted(_tensors(source, 0, source.size))
    except (OSError, RuntimeError, ValueError, LookupError, OverflowError, zipfile.BadZipFile):
        return []  # looks like HDF5 or zip and is not: stored all the same, as plain bytes


def _along(tensors: Iterable[Tensor], size: int) -> Iterator[Range]:
    here = 0  # everything before it is in a chunk
    for start, stop, *_ in tensors:
        if start < here or stop > size:
            continue  # overlaps: no library writes that, and the chunks still cover the file
        if start - here >= SMALL or (stop - start >= SMALL and start > here):
            yield from _split(here, start, LARGEST)
            here = start
        if stop - here >= SMALL:
            yield from _split(here, stop, LARGEST)
            here = stop
    yield from _split(here, size, LARGEST)


def _split(start: int, stop: int, most: int) -> Iterator[Range]:
    for begin in range(start, stop, most):
        yield begin, min(begin + most, stop)


def _tensors(source: FileSource, start: int, size: int) -> Iterator[Tensor]:
    """Yield the places of tensors, or of whole zip members, in the file that begins at start."""
    head = bytes(source.read(start, start + min(len(HDF5), size)))
    if head == HDF5:
        yield from _datasets(source, start, size)
    elif head.startswith(ZIP) and start == 0:
        for member in members(source):
            if not member.is_plain:
                continue
            inner = list(_tensors(source, member.start, member.size))
            yield from (found._replace(name=f"{member.name}:{found.name}") for found in inner)
            if not inner:
                yield Tensor(member.start, member.stop)


def members(source: FileSource) -> Iterator[Member]:
    """Yield the members of a zip file; raises BadZipFile or OSError."""
    with zipfile.ZipFile(cast("IO[bytes]", Window(source, 0, source.size))) as archive:
        for info in archive.infolist():
            start = info.header_offset
            header = bytes(source.read(start, start + _ZIP_LOCAL_HEADER))
            name = int.from_bytes(header[26:28], "little")
            extra = int.from_bytes(header[28:30], "little")
            is_plain = info.compress_type == zipfile.ZIP_STORED
            size = info.file_size if is_plain else info.compress_size
            yield Member(
                info.filename, start + _ZIP_LOCAL_HEADER + name + extra, size, is_plain=is_plain
            )


def _datasets(source: FileSource, start: int, size: int) -> Iterator[Tensor]:
    import h5py

    with closing(h5py.File(Window(source, start, size), "r")) as root:
        names: list[bytes] = []
        h5py.h5o.visit(root.id, names.append)
        for name in names:
            found = h5py.h5o.open(root.id, name)
            if isinstance(found, h5py.h5d.DatasetID):
                text, kind = name.decode(errors="replace"), _kind(found)
                for part, (offset, length) in enumerate(stored_ranges(found)):
                    begin = start + offset
                    yield Tensor(begin, begin + length, f"{text}:{part}" if part else text, *kind)


def stored_ranges(dataset: h5py.h5d.DatasetID) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of a dataset's bytes in its file."""
    offset = dataset.get_offset()
    if offset is not None:
        yield offset, dataset.get_storage_size()
    elif dataset.get_create_plist().get_layout() == 2:  # H5D_CHUNKED
        for number in range(dataset.get_num_chunks()):
            info = dataset.get_chunk_info(number)
            yield info.byte_offset, info.size


def _kind(dataset: h5py.h5d.DatasetID) -> tuple[int, bool]:
    """Return the width of a dataset's numbers in bytes, and whether they are big-endian.

    Keras stores bfloat16 and float8 as opaque bytes of their size, because NumPy does; complex
    numbers are compounds of two. The width is 1 if no width helps: text, compressed data.
    """
    import h5py

    if dataset.get_create_plist().get_nfilters():
        return 1, False
    kind = dataset.get_type()
    if isinstance(kind, h5py.h5t.TypeCompoundID):
        sizes = {kind.get_member_type(number).get_size() for number in range(kind.get_nmembers())}
        kind = kind.get_member_type(0) if len(sizes) == 1 else kind
    is_float_or_integer = isinstance(kind, h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID)
    width = kind.get_size()
    if not (is_float_or_integer or isinstance(kind, h5py.h5t.TypeOpaqueID)) or width not in WIDTHS:
        return 1, False
    return width, is_float_or_integer and kind.get_order() == h5py.h5t.ORDER_BE


class Window(Positioned):
    """A range of a file as a file object for h5py and zipfile, which read metadata only."""

    def __init__(self, source: FileSource, start: int, size: int) -> None:
        self._source, self._start, self._size = source, start, size

    def read(self, size: int = -1) -> Buffer:
        left = max(self._size - self._at, 0)
        start = self._start + self._at
        data = bytes(self._source.read(start, start + (left if size < 0 else min(size, left))))
        self._at += len(data)
        return data

    def write(self, *_: object) -> int:
        raise OSError("opened for reading")

    def truncate(self, *_: object) -> int:
        raise OSError("opened for reading")
