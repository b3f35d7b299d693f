"""The values of one tensor in a few numbers, and their histogram."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import VersionNotFound
from kept.store.content.read_manifest import read_manifest
from kept.store.tensors.stats import Stats, stats_of
from kept.store.tensors.tensors import tensors_of

if TYPE_CHECKING:
    from kept.bucket.base import Bucket
    from kept.store.log.history import VersionRecord
    from kept.store.tensors.stats import Histogram
    from kept.store.tensors.tensor import StoredTensor
    from kept.store.tensors.tensors import Tensors

ASKED_FROM = 500_000_000  # bytes of a tensor; before so much is read, the page asks
_BINS = 48


class Where(NamedTuple):
    """A tensor: the file of the version, and the path in it."""

    file: str
    path: str


class Bar(NamedTuple):
    """How many values lie between two numbers, and where that is drawn, from 0 to 1."""

    low: float
    high: float
    amount: int
    left: float
    width: float
    height: float


class Found(NamedTuple):
    """A tensor of a version, and the same one of the version before."""

    tensor: StoredTensor
    other: StoredTensor | None  # None if the version before has no such tensor
    tensors: Tensors
    others: Tensors | None

    @property
    def is_same(self) -> bool:
        """Whether the version before has the same bytes."""
        if self.other is None or self.others is None or self.other.dtype != self.tensor.dtype:
            return False
        own, other = self.tensors.pieces(self.tensor), self.others.pieces(self.other)
        return [piece[:3] for piece in own] == [piece[:3] for piece in other]


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What the values of a tensor are, and those of the version before."""

    now: Stats
    before: Stats | None  # None if the version before has no such tensor, or the same one
    bars: list[Bar]
    bars_before: list[Bar]
    low: float  # of the axis
    high: float

    @property
    def deviations(self) -> tuple[float | None, float | None]:
        """The standard deviations, now and before."""
        return _deviation(self.now), _deviation(self.before) if self.before else None


def find_tensor(
    bucket: Bucket, record: VersionRecord, before: VersionRecord | None, where: Where
) -> Found:
    """Return a tensor, and that of the version before; no values are read.

    Raises VersionNotFound if the version has no such tensor, or Damaged.
    """
    tensors = tensors_of(bucket, read_manifest(bucket, record))
    tensor = _named(tensors, where)
    if tensor is None:
        raise VersionNotFound(
            f"v{record.index} has no tensor {where.path[:300]!r} in {where.file[:300]!r}."
        )
    others = tensors_of(bucket, read_manifest(bucket, before)) if before else None
    return Found(tensor, _named(others, where) if others else None, tensors, others)


def tensor_facts(found: Found) -> TensorFacts:
    """Return what the values of a tensor are, in blocks; raises InvalidInput or Damaged."""
    now = stats_of(found.tensors, found.tensor, _BINS)
    before = None
    if found.others and found.other and not found.is_same:
        before = stats_of(found.others, found.other, _BINS)
    known = [each.histogram for each in (now, before) if each and each.histogram]
    low = min((each.edges[0] for each in known), default=0.0)
    high = max((each.edges[-1] for each in known), default=0.0)
    top = max((max(_density(each)) for each in known), default=0.0)
    axis = _Axis(low, high, top)
    then = before.histogram if before else None
    return TensorFacts(now, before, axis.bars(now.histogram), axis.bars(then), low, high)


class _Axis(NamedTuple):
    """The span of values and the greatest density of a drawing."""

    low: float
    high: float
    top: float

    def bars(self, found: Histogram | None) -> list[Bar]:
        """Return the bars of a histogram, none without one; areas of equal counts are equal."""
        span = self.high - self.low
        if found is None or not span or not self.top:
            return []
        sides = zip(itertools.pairwise(found.edges), found.counts, _density(found), strict=True)
        return [
            Bar(a, b, amount, (a - self.low) / span, (b - a) / span, density / self.top)
            for (a, b), amount, density in sides
        ]


def _density(found: Histogram) -> list[float]:
    """Return the share of the values in each bar, over its width."""
    total = sum(found.counts) or 1
    widths = (b - a for a, b in itertools.pairwise(found.edges))
    return [c / total / width for c, width in zip(found.counts, widths, strict=True)]


def _named(tensors: Tensors, where: Where) -> StoredTensor | None:
    found = (each for each in tensors.every if (each.file, each.path) == where)
    return next(found, None)


def _deviation(stats: Stats) -> float | None:
    known = stats.size - stats.nans - stats.infinities
    if not known or stats.mean is None:
        return None
    root = stats.norm / math.sqrt(known)  # the squares of large values would overflow
    mean = min(abs(stats.mean), root)
    return math.sqrt(root - mean) * math.sqrt(root + mean)
