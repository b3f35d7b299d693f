"""Finds the tensors of a file by its format: .keras, .weights.h5, .h5, .npz and .safetensors.

Only the metadata of the file are read. A file of another format, or a damaged one, has no tensors.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from kept.store.content.chunking import HDF5, ZIP, members
from kept.store.tensors.hdf5 import Place, read_content
from kept.store.tensors.kinds import name_of
from kept.store.tensors.names import Name, dotted_name, keras_names, legacy_names
from kept.store.tensors.tensor import StoredTensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.content.chunking import Member
    from kept.store.content.file_source import FileSource

ENDINGS = (".keras", ".h5", ".hdf5", ".npz", ".safetensors")
UNREADABLE = (
    *(OSError, RuntimeError, ValueError, LookupError, OverflowError, TypeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, AttributeError, EOFError, SyntaxError),
)
WEIGHTS = "model.weights.h5"  # in a .keras file
_STATE = re.compile(r"kept-state(\.rank-\d+)?\.npz")
_MOST_HEADER = 64 * 2**20  # bytes of a .safetensors file
_HEADERS = 16 * 1024  # bytes of a .npy file that hold its header
_SAFE = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


def may_have_tensors(path: str) -> bool:
    """Return whether a file of this name can have tensors; nothing is read."""
    return path.lower().endswith(ENDINGS)


def find_tensors(path: str, source: FileSource) -> list[StoredTensor]:
    """Return the tensors of a file in the order of their bytes; raises UNREADABLE."""
    head = bytes(source.read(0, min(len(HDF5), source.size)))
    if head == HDF5:
        found = list(_of_hdf5(path, source, Place(0, source.size)))
    elif head.startswith(ZIP):
        found = list(_of_zip(path, source))
    elif path.lower().endswith(".safetensors"):
        found = list(_of_safetensors(path, source, head))
    else:
        return []
    last = source.size + 1
    return sorted(found, key=lambda each: each.ranges[0][0] if each.ranges else last)


def hdf5_place(source: FileSource) -> Place | None:
    """Return where the HDF5 file lies in a file; raises UNREADABLE."""
    head = bytes(source.read(0, min(len(HDF5), source.size)))
    if head == HDF5:
        return Place(0, source.size)
    if not head.startswith(ZIP):
        return None
    inner = (one for one in members(source) if one.is_plain and one.name.endswith(".h5"))
    return next((Place(one.start, one.size) for one in inner), None)


def _of_hdf5(path: str, source: FileSource, place: Place) -> Iterator[StoredTensor]:
    content = read_content(source, place)
    paths = [dataset.path for dataset in content.datasets]
    names = legacy_names(paths) if content.is_legacy else keras_names(paths, content.layer_names)
    for found in content.datasets:
        name = names[found.path]
        yield StoredTensor(
            path,
            found.path,
            name.full,
            name.layer,
            found.shape,
            found.dtype,
            found.ranges,
            found.is_plain,
            name.role,
            found.is_big_endian,
        )


def _of_zip(path: str, source: FileSource) -> Iterator[StoredTensor]:
    for member in members(source):
        if member.name.endswith(".npy"):
            found = _of_npy(path, source, member)
            if found:
                yield found
        elif member.is_plain and member.name.endswith(".h5"):
            yield from _of_hdf5(path, source, Place(member.start, member.size))


def _of_npy(path: str, source: FileSource, member: Member) -> StoredTensor | None:
    """Return the array in a member of an .npz file; None for one of objects."""
    from io import BytesIO

    import numpy as np

    if member.is_plain:
        data = bytes(source.read(member.start, min(member.start + _HEADERS, member.stop)))
    else:
        data = _unpacked_head(source, member.name)
    stream = BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read: Any = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = read(stream, max_header_size=_HEADERS)
    kind = name_of(dtype)
    if kind is None:
        return None
    ranges = ((member.start, member.stop),)
    if member.is_plain:
        ranges = ((member.start + stream.tell(), member.stop),)
    text = member.name.removesuffix(".npy")
    name = Name("kept-state", text, "state") if is_state(path) else dotted_name(text)
    found = StoredTensor(
        path, text, name.full, name.layer, tuple(shape), kind, ranges, member.is_plain,
        name.role, dtype.str.startswith(">"), is_fortran and len(shape) > 1,
    )  # fmt: skip
    stored = ranges[0][1] - ranges[0][0]
    return found if not member.is_plain or found.nbytes == stored else None


def is_state(path: str) -> bool:
    """Return whether a file holds the state of a run, which kept stores beside a model."""
    return _STATE.fullmatch(os.path.basename(path)) is not None


def _unpacked_head(source: FileSource, name: str) -> bytes:
    from kept.store.tensors.packed import opened_member

    with opened_member(source, name) as stream:
        return stream.read(_HEADERS)


def _of_safetensors(path: str, source: FileSource, head: bytes) -> Iterator[StoredTensor]:
    (size,) = struct.unpack("<Q", head)
    if size > min(_MOST_HEADER, source.size):
        raise ValueError("the header is larger than the file")
    begin = len(head) + size
    for text, entry in json.loads(bytes(source.read(len(head), begin))).items():
        if text == "__metadata__" or entry["dtype"] not in _SAFE:
            continue
        start, stop = (begin + int(at) for at in entry["data_offsets"])
        shape, name = tuple(map(int, entry["shape"])), dotted_name(text)
        found = StoredTensor(
            path, text, name.full, name.layer, shape, _SAFE[entry["dtype"]], ((start, stop),),
            is_plain=True,
        )  # fmt: skip
        if found.nbytes == stop - start and begin <= start <= stop <= source.size:
            yield found
