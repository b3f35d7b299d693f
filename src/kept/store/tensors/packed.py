"""Arrays whose bytes are compressed in a zip file, or not in the order of C, in blocks."""

from __future__ import annotations

import contextlib
import zipfile
from typing import IO, TYPE_CHECKING, Any, cast

from kept.store.content.chunking import Window
from kept.store.tensors.kinds import decoded, width_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from kept.store.content.file_source import FileSource
    from kept.store.tensors.tensor import StoredTensor

_MOST_HEADER = 16 * 1024
_MOST_SMALL = 64 * 2**20  # bytes


@contextlib.contextmanager
def opened_member(source: FileSource, name: str) -> Iterator[IO[bytes]]:
    """Open a member of a zip file, compressed or not."""
    window = cast("IO[bytes]", Window(source, 0, source.size))
    with zipfile.ZipFile(window) as archive, archive.open(name) as stream:
        yield stream


def read_small_member(source: FileSource, name: str) -> bytes:
    """Return a member of a zip file; empty if it is missing, or too large for a text."""
    with zipfile.ZipFile(cast("IO[bytes]", Window(source, 0, source.size))) as archive:
        found = next((info for info in archive.infolist() if info.filename == name), None)
        return archive.read(found) if found and found.file_size <= _MOST_SMALL else b""


def read_member(
    source: FileSource, tensor: StoredTensor, elements: int
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the values of an array of an .npz file, in the order in which they are stored."""
    import numpy as np

    with opened_member(source, f"{tensor.path}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read: Any = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        read(stream, max_header_size=_MOST_HEADER)
        left = tensor.nbytes
        while left:
            data = stream.read(min(left, elements * width_of(tensor.dtype)))
            if not data:
                raise ValueError(f"{tensor.path} is cut short")
            left -= len(data)
            yield decoded(data, tensor.dtype, is_big_endian=tensor.is_big_endian)
