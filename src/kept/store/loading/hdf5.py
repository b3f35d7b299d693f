"""Checks an HDF5 file before Keras reads it: all data lie in it, and need little memory.

HDF5 can link to other files, take data from them, and declare arrays of any size without storing
them. Weights need none of that. Versions of Keras differ in what they refuse, so kept checks first.
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kept.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py

_SMALL = 64 * 2**20  # bytes that any file may ask for
_EXPANSION = 100  # bytes in memory for each byte of a file; Keras itself does not compress
_TEXTS = b"GCOL\1\0\0\0"  # begins each place of a file that holds texts; then its size, 8 bytes
_DAMAGED = (OSError, RuntimeError, LookupError, TypeError)


def limit(stored: int) -> int:
    """Return how many bytes a file of a number of stored bytes may need in memory."""
    return _SMALL + _EXPANSION * stored


def root_attributes(file: Path, *names: str) -> list[str]:
    """Return those of the named attributes of an HDF5 file that are texts.

    Raises InvalidInput for a file that is not HDF5.
    """
    with _open(file) as opened:
        found = [opened.attrs.get(name) for name in names]
    texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in found]
    return [text for text in texts if isinstance(text, str)]


def check_hdf5(file: Path | BinaryIO, stored: int) -> None:
    """Raise InvalidInput for a file of stored bytes that Keras must not read."""
    try:
        with _open(file) as opened:
            items = list(_items(opened))
            needed = sum(_size_of_array(item) + _size_of_attributes(item) for item in items)
            texts = sum(map(_texts_in_lists, items))
            if texts:  # all of them can be one text, which the file stores once
                needed += texts * _longest_text(file)
            if needed > limit(stored):
                raise InvalidInput(
                    f"its arrays need {needed:,} bytes of memory; expected up to "
                    f"{limit(stored):,} for a file of {stored:,} bytes"
                )
            for item in items:
                _check_names(item)
    except _DAMAGED as error:
        raise InvalidInput(f"it is a damaged HDF5 file: {error}") from None


def _open(file: Path | BinaryIO) -> h5py.File:
    import h5py

    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise InvalidInput(f"it is no HDF5 file: {error}") from None


def _items(root: h5py.Group) -> Iterator[Any]:
    """Yield the groups, arrays and types of a file; raise InvalidInput for what is elsewhere."""
    import h5py

    left, seen = [root], {_place(root)}
    yield root
    while left:
        group = left.pop()
        for name in group:
            kind = group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type
            if kind != h5py.h5l.TYPE_HARD:
                raise InvalidInput(f"{name!r} in it is a link to another place")
            item = group[name]
            if _place(item) in seen:  # a file could name one array a million times
                raise InvalidInput(f"{item.name!r} in it has another name, too")
            seen.add(_place(item))
            if isinstance(item, h5py.Group):
                left.append(item)
            yield item


def _place(item: Any) -> int:
    import h5py

    return int(h5py.h5o.get_info(item.id).addr)


def _size_of_array(item: Any) -> int:
    import h5py

    if not isinstance(item, h5py.Dataset):
        return 0
    if item.external or item.is_virtual:
        raise InvalidInput(f"{item.name!r} in it takes its data from another file")
    if item.dtype.hasobject:
        raise InvalidInput(f"{item.name!r} in it is an array of texts or references")
    return math.prod(item.shape or ()) * int(item.dtype.itemsize)


def _size_of_attributes(item: Any) -> int:
    """Return the bytes that the attributes need, without the texts that they refer to."""
    ids = [item.attrs.get_id(name) for name in item.attrs]
    return sum(math.prod(one.shape or ()) * int(one.dtype.itemsize) for one in ids)


def _texts_in_lists(item: Any) -> int:
    ids = [item.attrs.get_id(name) for name in item.attrs]
    return sum(math.prod(one.shape) for one in ids if one.dtype.hasobject and one.shape)


def _longest_text(file: Path | BinaryIO) -> int:
    """Return a length that no text in a file exceeds."""
    if not isinstance(file, Path):  # weights in a .keras file have no lists of texts
        raise InvalidInput("it is a list of texts where weights are expected")
    longest, at = 0, 0
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while (at := data.find(_TEXTS, at)) >= 0:
            at += len(_TEXTS)
            longest = max(longest, int.from_bytes(data[at : at + 8], "little"))
    return min(longest, file.stat().st_size)


def _check_names(item: Any) -> None:
    """Raise InvalidInput if weight_names names an array twice, because Keras reads it twice."""
    import numpy as np

    lists = [item.attrs[name] for name in item.attrs if name.startswith("weight_names")]
    names = [name for some in lists for name in np.ravel(some).tolist()]
    if len(set(names)) < len(names):
        raise InvalidInput(f"weight_names of {item.name!r} in it names an array twice")
