"""Where a file has the values of variables, so that the next file needs new values only.

Invariant: two files of one structure have the same bytes except for the values, and these are at
the same places. A layout is recorded only if each value in the file is that of a known variable,
and it is used only for values of the same shapes and types.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from kept.bucket.base import Buffer
    from kept.training.snapshot.frameworks import HostBuffer, Variable

    class Values(Protocol):  # a snapshot
        def value(self, variable: Variable, /) -> HostBuffer | None: ...
        def memory(self, variable: Variable, /) -> memoryview | None: ...

    class _Readable(Protocol):
        def seek(self, offset: int, /) -> int: ...
        def read(self, size: int = -1, /) -> bytes: ...


_BLOCK = 4 * 1024 * 1024  # bytes compared at a time
_LARGE = 64 * 1024  # bytes of a value that is not copied
IN_MEMORY, ON_DISK = "memory", "disk"  # HDF5 lays out a file in two ways


class Structure:
    """The objects of a model, as long as none is replaced; has the layouts of their files."""

    def __init__(self, *, is_sure: bool = False) -> None:
        """Without a sure sign that an object was replaced, no layout is recorded."""
        self._is_sure = is_sure
        self.layouts: dict[str, FileLayout] = {}  # by IN_MEMORY or ON_DISK

    def filled(self, kind: str, values: Values) -> list[Buffer] | None:
        """Return the bytes of a file with other values; None if that is not sure."""
        layout = self.layouts.get(kind)
        return None if layout is None else layout.filled(values)

    def record(self, kind: str, file: _Readable, places: Iterable[Place], values: Values) -> None:
        """Record the layout of a file with these values, if it is sure; forget the one before."""
        self.layouts.pop(kind, None)
        layout = _layout_of(file, places, values) if self._is_sure else None
        if layout is not None:
            self.layouts[kind] = layout


class Place(NamedTuple):
    """Where a file has a value, and the variable whose value it is; None if that is not known."""

    start: int
    variable: Variable | None


class _Gap(NamedTuple):
    """The place of a value in the bytes that a layout keeps."""

    start: int
    stop: int  # the same as start for a large value, which is not among these bytes
    variable: weakref.ref[Variable]
    kind: tuple[Any, Any]


class FileLayout(NamedTuple):
    """The bytes of a file without its large values, and the places of all values in them."""

    kept: bytes
    gaps: list[_Gap]  # ascending
    tensors: list[tuple[int, int]]  # first byte of each in the file, and first byte after it

    def filled(self, values: Values) -> list[Buffer] | None:
        """Return the bytes of the file with other values; None if they do not fit."""
        view, here = memoryview(bytearray(self.kept)), 0
        parts: list[Buffer] = []
        for start, stop, reference, kind in self.gaps:
            variable = reference()
            memory = None if variable is None else values.memory(variable)
            if memory is None or _kind(values.value(variable)) != kind:
                return None
            if start == stop:
                parts += [view[here:start], memory]
                here = start
            else:
                view[start:stop] = memory
        return [*parts, view[here:]]


def _kind(buffer: HostBuffer) -> tuple[Any, Any]:
    return buffer.shape, buffer.dtype


def _layout_of(file: _Readable, places: Iterable[Place], values: Values) -> FileLayout | None:
    kept, gaps, tensors, here = bytearray(), [], [], 0
    for start, variable in sorted(places, key=lambda place: place.start):
        memory = None if variable is None else values.memory(variable)
        if memory is None or start < here:
            return None
        file.seek(here)
        kept += file.read(start - here)
        if not _has(file, memory):
            return None
        here, begin = start + len(memory), len(kept)
        tensors.append((start, here))
        if len(memory) < _LARGE:
            kept += memory
        reference = weakref.ref(variable)
        gaps.append(_Gap(begin, len(kept), reference, _kind(values.value(variable))))
    file.seek(here)
    return FileLayout(bytes(kept + file.read()), gaps, tensors)


def _has(file: _Readable, memory: memoryview) -> bool:
    """Return whether the next bytes of a file are those in memory."""
    blocks = (memory[start : start + _BLOCK] for start in range(0, len(memory), _BLOCK))
    return all(file.read(len(block)) == bytes(block) for block in blocks)
