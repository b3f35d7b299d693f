"""The values of one tensor in a few numbers, and their histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.errors import InvalidInput, VersionNotFound
from kept.store.content.read_manifest import read_manifest
from kept.store.tensors.tensors import BLOCK, tensors_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from kept.bucket.base import Bucket
    from kept.store.log.history import VersionRecord
    from kept.store.tensors.tensor import StoredTensor
    from kept.store.tensors.tensors import Tensors

_BINS = 48
_MOST = 64 * BLOCK  # elements of a tensor that are read; of a larger one a sample


class Bar(NamedTuple):
    """How many values lie between two numbers."""

    low: float
    high: float
    amount: int
    before: int | None  # in the version before; None if it has no such tensor


@dataclass(frozen=True, slots=True)
class Values:
    """What the values of a tensor are."""

    count: int  # of the values that were read
    nan: int
    infinite: int
    zeros: int
    low: float  # of the finite ones, as the following
    high: float
    mean: float
    deviation: float
    norm: float

    @property
    def is_finite(self) -> bool:
        """Whether there is any finite value."""
        return self.count > self.nan + self.infinite


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A tensor of a version, with its values and those of the version before."""

    tensor: StoredTensor
    values: Values
    bars: list[Bar]
    before: Values | None  # None if the version before has no such tensor
    is_same: bool  # the version before has the same bytes
    is_sample: bool  # not all values were read


class Where(NamedTuple):
    """A tensor: the file of the version, and the path in it."""

    file: str
    path: str


def tensor_facts(
    bucket: Bucket, record: VersionRecord, before: VersionRecord | None, where: Where
) -> TensorFacts:
    """Return what the values of a tensor are; reads up to 64 million of them.

    Raises VersionNotFound if the version has no such tensor, InvalidInput or Damaged.
    """
    tensors = tensors_of(bucket, read_manifest(bucket, record))
    tensor = _named(tensors, where)
    if tensor is None:
        raise VersionNotFound(f"v{record.index} has no tensor {where.path!r} in {where.file!r}.")
    if tensor.dtype.startswith("raw"):
        raise InvalidInput(f"kept does not know how the values of {tensor.name} are stored.")
    older = tensors_of(bucket, read_manifest(bucket, before)) if before else None
    other = _named(older, where) if older else None
    is_same = older is not None and other is not None and _same(tensors, tensor, older, other)
    values = _summed(tensors, tensor)
    then = values if is_same else _summed(older, other) if older and other else None
    counts = _counted(tensors, tensor, values)
    earlier = _counted(older, other, values) if older and other and not is_same else None
    edges = _edges(values)
    bars = [
        Bar(low, high, int(count), None if earlier is None else int(earlier[place]))
        for place, (low, high, count) in enumerate(zip(edges, edges[1:], counts, strict=False))
    ]
    return TensorFacts(tensor, values, bars, then, is_same, tensor.size > _MOST)


def _named(tensors: Tensors, where: Where) -> StoredTensor | None:
    found = (each for each in tensors.every if (each.file, each.path) == where)
    return next(found, None)


def _same(tensors: Tensors, one: StoredTensor, older: Tensors, other: StoredTensor) -> bool:
    place = [piece[:3] for piece in tensors.pieces(one)]
    return place == [piece[:3] for piece in older.pieces(other)] and one.dtype == other.dtype


def _blocks(tensors: Tensors, tensor: StoredTensor) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the values in parts; of a large tensor parts at equal distances."""
    import numpy as np

    if tensor.size <= _MOST:
        parts = tensors.blocks(tensor)
    elif tensor.is_plain:
        step = tensor.size // (_MOST // BLOCK)
        starts = range(0, tensor.size - BLOCK, step)
        parts = (part for at in starts for part in tensors.blocks(tensor, at, at + BLOCK))
    else:
        raise InvalidInput(
            f"{tensor.name} has {tensor.size:,} values in compressed form, which is too many to "
            "read for a page."
        )
    for part in parts:
        yield np.abs(part) if part.dtype.kind == "c" else part.astype(np.float64, copy=False)


def _summed(tensors: Tensors, tensor: StoredTensor) -> Values:
    import numpy as np

    count = nan = infinite = zeros = 0
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    for part in _blocks(tensors, tensor):
        finite = part[np.isfinite(part)]
        missing = int(np.isnan(part).sum())
        count, nan = count + part.size, nan + missing
        infinite += part.size - finite.size - missing
        zeros += int((finite == 0).sum())
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            total, squares = total + float(finite.sum()), squares + float(finite @ finite)
    known = count - nan - infinite
    if not known:
        return Values(count, nan, infinite, zeros, 0.0, 0.0, 0.0, 0.0, 0.0)
    mean = total / known
    spread = math.sqrt(max(squares / known - mean * mean, 0.0))
    return Values(count, nan, infinite, zeros, low, high, mean, spread, math.sqrt(squares))


def _edges(values: Values) -> list[float]:
    """Return the bounds of the bars; of values that are all equal there is one bar."""
    import numpy as np

    if not values.is_finite:
        return []
    if values.low == values.high:
        room = abs(values.low) / 2 or 0.5
        return [values.low - room, values.low + room]
    return [float(edge) for edge in np.linspace(values.low, values.high, _BINS + 1)]


def _counted(tensors: Tensors, tensor: StoredTensor, values: Values) -> list[int]:
    """Return how many values lie in each bar; those outside of all bars are in the outer ones."""
    import numpy as np

    edges = np.array(_edges(values))
    if not edges.size:
        return []
    counts = np.zeros(len(edges) - 1, dtype=np.int64)
    for part in _blocks(tensors, tensor):
        finite = np.clip(part[np.isfinite(part)], edges[0], edges[-1])
        counts += np.histogram(finite, edges)[0]
    return [int(count) for count in counts]
