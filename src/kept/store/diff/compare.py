"""Compares the values of two tensors; it reads only the parts whose digests differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kept.store.diff.result import Figures
from kept.store.tensors.kinds import width_of
from kept.store.tensors.stats import Norm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from kept.store.tensors.tensor import Piece, StoredTensor
    from kept.store.tensors.tensors import Tensors

    Array = np.ndarray[Any, Any]


class Part(NamedTuple):
    """A range of the elements of two tensors."""

    start: int
    stop: int
    is_equal: bool  # by the digests of its bytes


class Task(NamedTuple):
    """Two tensors to be compared, and which parts of them can differ."""

    before: StoredTensor
    after: StoredTensor
    parts: tuple[Part, ...]

    @property
    def is_equal(self) -> bool:
        """Whether both are known as equal, so that nothing needs to be read."""
        return all(part.is_equal for part in self.parts)

    @property
    def nbytes(self) -> int:
        """About how many bytes a comparison reads of each side."""
        elements = sum(part.stop - part.start for part in self.parts if not part.is_equal)
        return elements * width_of(self.before.dtype)


def task_of(
    before: StoredTensor, after: StoredTensor, pieces: tuple[Piece, ...], others: tuple[Piece, ...]
) -> Task:
    """Return which parts of two tensors of one shape can differ, by the digests of their pieces."""
    whole = Part(0, before.size, is_equal=False)
    is_same_kind = all(
        getattr(before, name) == getattr(after, name)
        for name in ("dtype", "is_big_endian", "is_fortran", "is_plain")
    )
    if not before.size:
        return Task(before, after, ())
    if not is_same_kind or not pieces or not others:
        return Task(before, after, (whole,))
    if _contents(pieces) == _contents(others):
        return Task(before, after, (whole._replace(is_equal=True),))
    if not before.is_plain:
        return Task(before, after, (whole,))
    return Task(before, after, tuple(_parts(before, pieces, others)))


def compare(before: Tensors, after: Tensors, task: Task, *, exact: bool) -> Figures:
    """Return how two tensors differ; raises Damaged.

    Equal parts are not read, unless exact asks for the norms of the whole tensors. Then one side
    of them is read.
    """
    sums = _Sums()
    if task.before.is_fortran != task.after.is_fortran:
        sums.add(before.values(task.before).ravel(), after.values(task.after).ravel())
        return sums.figures()
    for start, stop, is_equal in task.parts:
        if not is_equal:
            ours = before.blocks(task.before, start, stop)
            theirs = after.blocks(task.after, start, stop)
            for one, other in _aligned(ours, theirs):
                sums.add(one, other)
        elif exact:
            for block in before.blocks(task.before, start, stop):
                sums.add(block, block)
    return sums.figures()


def _contents(pieces: tuple[Piece, ...]) -> list[tuple[str, int, int]]:
    return [(piece.digest, piece.offset, piece.size) for piece in pieces]


def _parts(
    tensor: StoredTensor, pieces: tuple[Piece, ...], others: tuple[Piece, ...]
) -> Iterator[Part]:
    """Yield the parts of a plain tensor in their order; neighbours of one kind are one part."""
    width, size = width_of(tensor.dtype), tensor.size
    same = _placed(pieces) & _placed(others)
    here = 0
    for start, piece in sorted(same, key=lambda each: each[0]):
        first, last = -(-start // width), (start + piece[2]) // width  # whole elements
        if last <= first:
            continue
        if first > here:
            yield Part(here, first, is_equal=False)
        yield Part(max(first, here), last, is_equal=True)
        here = last
    if here < size:
        yield Part(here, size, is_equal=False)


def _placed(pieces: tuple[Piece, ...]) -> set[tuple[int, tuple[str, int, int]]]:
    """Return the pieces with their places in the tensor."""
    found, at = set(), 0
    for content in _contents(pieces):
        found.add((at, content))
        at += content[2]
    return found


def _aligned(ours: Iterable[Array], theirs: Iterable[Array]) -> Iterator[tuple[Array, Array]]:
    """Yield blocks of the same length from both; their own blocks can differ in length."""
    right = iter(theirs)
    other = None
    for block in ours:
        while block.size:
            if other is None or not other.size:
                other = next(right)
                continue
            length = min(block.size, other.size)
            yield block[:length], other[:length]
            block, other = block[length:], other[length:]  # noqa: PLW2901 - what is left of it


class _Sums:
    """What is known of the elements so far, in double precision."""

    def __init__(self) -> None:
        self._change, self._before, self._after = Norm(), Norm(), Norm()
        self._dot = 0.0
        self._compared = self._finite = self._changed = 0
        self._nans, self._infinities = [0, 0], [0, 0]

    def add(self, one: Array, other: Array) -> None:
        """Add the elements of two blocks; one block given twice counts as equal."""
        import numpy as np

        self._compared += one.size
        nan = self._count(one, 0), self._count(other, 1)
        if one is not other:
            differs = one != other
            if nan[0] is not None and nan[1] is not None:
                differs &= ~(nan[0] & nan[1])
            self._changed += int(np.count_nonzero(differs))
        finite = np.isfinite(one) & np.isfinite(other)
        if not finite.all():
            one, other = one[finite], other[finite]
        self._finite += one.size
        left, right = _doubles(one), _doubles(other)
        with np.errstate(over="ignore", invalid="ignore"):
            self._change.add(right - left)
            self._dot += float(np.dot(left, right))
        self._before.add(left)
        self._after.add(right)

    def _count(self, block: Array, side: int) -> Array | None:
        """Count NaN and infinities; return where NaN are, None for numbers that have none."""
        import numpy as np

        if block.dtype.kind not in "fc":
            return None
        nan: Array = np.isnan(block)
        self._nans[side] += int(np.count_nonzero(nan))
        self._infinities[side] += int(np.count_nonzero(np.isinf(block)))
        return nan

    def figures(self) -> Figures:
        """Return the result."""
        return Figures(
            self._compared,
            self._finite,
            self._changed,
            self._change.value,
            self._before.value,
            self._after.value,
            self._dot,
            (self._nans[0], self._nans[1]),
            (self._infinities[0], self._infinities[1]),
        )


def _doubles(block: Array) -> Array:
    """Return the elements as doubles; a complex number becomes two."""
    import numpy as np

    if block.dtype.kind == "c":
        return block.astype(np.complex128).view(np.float64)
    return block.astype(np.float64)
