"""The tensors of an HDF5 file, found without reading their values."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.store.content.chunking import Window, stored_ranges
from kept.store.tensors.kinds import from_dataset, name_of, width_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py
    import numpy as np

    from kept.store.content.chunking import Range
    from kept.store.content.file_source import FileSource

_CONTIGUOUS, _VIRTUAL = 1, 3  # layouts of HDF5
_LONGEST_NAME = 500  # characters
_SMALL = 64 * 2**20  # bytes that any file may ask for
_EXPANSION = 1100  # bytes of an array for each stored byte; deflate reaches 1032


class Place(NamedTuple):
    """Where an HDF5 file lies in a file: a .keras file holds one as a member."""

    start: int
    size: int


class Dataset(NamedTuple):
    """An array of numbers in an HDF5 file."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    ranges: tuple[Range, ...]  # of the file around it
    is_plain: bool
    is_big_endian: bool


@dataclass(slots=True)
class Content:
    """What an HDF5 file has."""

    datasets: list[Dataset] = field(default_factory=list)
    layer_names: dict[str, str] = field(default_factory=dict)  # of the groups of Keras 3
    is_legacy: bool = False  # of the layout of Keras 2, which has names of weights


def read_content(source: FileSource, place: Place) -> Content:
    """Return the arrays and the names of layers; raises OSError and others if it is damaged."""
    import h5py

    found = Content()
    with closing(h5py.File(Window(source, *place), "r")) as root:
        found.is_legacy = "layer_names" in root.attrs or "model_weights" in root
        names: list[bytes] = []
        h5py.h5o.visit(root.id, names.append)  # follows no link out of the file
        for name in names:
            item, path = h5py.h5o.open(root.id, name), name.decode(errors="replace")
            if isinstance(item, h5py.h5d.DatasetID):
                dataset = _dataset(item, path, place)
                found.datasets += [dataset] if dataset else []
            elif path.endswith("/vars") and (layer := _text(item, "name")):
                found.layer_names[path.removesuffix("/vars")] = layer
    return found


def read_attributes(source: FileSource, place: Place, *names: str) -> dict[str, str]:
    """Return those of the named attributes of an HDF5 file that are texts."""
    import h5py

    with closing(h5py.File(Window(source, *place), "r")) as root:
        found = {name: _text(root.id, name, longest=None) for name in names}
    return {name: text for name, text in found.items() if text is not None}


def read_rows(
    source: FileSource, place: Place, path: str, dtype: str, elements: int
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the values of an array that is compressed, or stored in parts, `elements` at a time."""
    import h5py

    with closing(h5py.File(Window(source, *place), "r")) as root:
        dataset = root[path]
        if not dataset.shape:
            yield from_dataset(dataset[()].reshape(1), dtype)
            return
        for part in _selections(dataset.shape, elements):
            yield from_dataset(dataset[part], dtype)


def _selections(shape: tuple[int, ...], most: int) -> Iterator[tuple[int | slice, ...]]:
    """Yield parts of an array of up to `most` elements, in the order of the elements."""
    row = math.prod(shape[1:])
    if row <= most:
        step = max(most // max(row, 1), 1)
        for start in range(0, shape[0], step):
            yield (slice(start, start + step),)
        return
    for index in range(shape[0]):
        for inner in _selections(shape[1:], most):
            yield (index, *inner)


def _dataset(item: h5py.h5d.DatasetID, path: str, place: Place) -> Dataset | None:
    """Return an array of numbers; None for texts, and for data of another file."""
    plist = item.get_create_plist()
    layout = plist.get_layout()
    if layout == _VIRTUAL or plist.get_external_count() or item.shape is None:
        return None
    name = name_of(item.dtype)
    if name is None:
        return None
    ranges = tuple((place.start + at, place.start + at + size) for at, size in stored_ranges(item))
    shape = tuple(map(int, item.shape))
    size = math.prod(shape) * width_of(name)
    stored = sum(stop - start for start, stop in ranges)
    is_plain = layout == _CONTIGUOUS and stored == size and len(ranges) == 1
    if any(stop > place.start + place.size for _, stop in ranges):
        return None  # of a file that was cut short
    if layout == _CONTIGUOUS and size and not is_plain:
        return None  # values that the file does not hold
    if size > _SMALL + _EXPANSION * stored:
        return None  # declared, and not stored
    return Dataset(path, shape, name, ranges, is_plain, item.dtype.str.startswith(">"))


def _text(item: Any, name: str, longest: int | None = _LONGEST_NAME) -> str | None:
    import h5py

    if not h5py.h5a.exists(item, name.encode()):
        return None
    try:
        found = h5py.AttributeManager(_Holder(item))[name]
    except (OSError, RuntimeError, TypeError, ValueError):
        return None
    text = found.decode(errors="replace") if isinstance(found, bytes) else found
    is_short = isinstance(text, str) and (longest is None or len(text) <= longest)
    return text if is_short else None


class _Holder(NamedTuple):
    """What AttributeManager takes: something with an id."""

    id: Any
