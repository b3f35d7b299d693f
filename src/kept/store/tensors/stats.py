"""Statistics of a tensor, in double precision, block by block."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kept.store.tensors.kinds import is_floating

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from kept.store.tensors.tensor import StoredTensor
    from kept.store.tensors.tensors import Tensors

_MOST_BINS = 1000
_LEAST_SPAN = 1e-300  # of a histogram


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many finite elements lie between each two edges; the last edge belongs to its bin."""

    edges: tuple[float, ...]  # one more than counts
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of a tensor; norm, mean, minimum and maximum are of its finite elements."""

    size: int
    norm: float
    mean: float | None  # None if no element is finite
    minimum: float | None
    maximum: float | None
    zeros: int
    nans: int
    infinities: int
    histogram: Histogram | None  # None without bins, and if no element is finite

    @property
    def zero_share(self) -> float:
        """The share of elements that are zero."""
        return self.zeros / self.size if self.size else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"zero_share": self.zero_share}


def stats_of(tensors: Tensors, tensor: StoredTensor, bins: int = 0) -> Stats:
    """Return the statistics of a tensor; raises Damaged.

    With bins, the values are read twice: the histogram needs minimum and maximum first. Complex
    numbers count by their magnitude.
    """
    sums = _Sums(tensor.dtype)
    for block in _real(tensors.blocks(tensor)):
        sums.add(block)
    low, high = sums.minimum, sums.maximum
    histogram = None
    if bins and low is not None and high is not None:
        histogram = _histogram(_real(tensors.blocks(tensor)), low, high, min(bins, _MOST_BINS))
    return Stats(
        tensor.size,
        sums.norm.value,
        sums.total / sums.finite if sums.finite else None,
        low,
        high,
        sums.zeros,
        sums.nans,
        sums.infinities,
        histogram,
    )


class Norm:
    """The norm of many blocks; it neither overflows nor underflows, whatever their values are."""

    def __init__(self) -> None:
        self._scale, self._squares = 0.0, 0.0  # the norm is scale * sqrt(squares)

    def add(self, finite: np.ndarray[Any, Any]) -> None:
        """Add the finite values of a block, which are doubles."""
        import numpy as np

        largest = float(np.max(np.abs(finite), initial=0.0))
        if not largest:
            return
        if 1e-100 < largest < 1e100:  # of every narrower type: no copy for a scale
            self._add(1.0, float(np.dot(finite, finite)))
        else:
            scaled = finite / largest
            self._add(largest, float(np.dot(scaled, scaled)))

    def _add(self, scale: float, squares: float) -> None:
        if scale > self._scale:
            self._squares *= (self._scale / scale) ** 2
            self._scale = scale
        self._squares += squares * (scale / self._scale) ** 2

    def merge(self, other: Norm) -> None:
        """Add the values of another norm."""
        if other._scale:
            self._add(other._scale, other._squares)

    @property
    def value(self) -> float:
        """The norm of all values so far."""
        return self._scale * math.sqrt(self._squares)


class _Sums:
    def __init__(self, dtype: str) -> None:
        self._is_floating = is_floating(dtype)
        self.norm = Norm()
        self.total = 0.0
        self.finite = self.zeros = self.nans = self.infinities = 0
        self.minimum: float | None = None
        self.maximum: float | None = None

    def add(self, block: np.ndarray[Any, Any]) -> None:
        import numpy as np

        self.zeros += block.size - int(np.count_nonzero(block))
        if self._is_floating:
            nans = int(np.count_nonzero(np.isnan(block)))
            infinities = int(np.count_nonzero(np.isinf(block)))
            self.nans, self.infinities = self.nans + nans, self.infinities + infinities
            block = block[np.isfinite(block)] if nans or infinities else block
        if not block.size:
            return
        low, high = float(block.min()), float(block.max())
        self.minimum = low if self.minimum is None else min(low, self.minimum)
        self.maximum = high if self.maximum is None else max(high, self.maximum)
        with np.errstate(over="ignore"):
            self.total += float(block.sum())
        self.finite += block.size
        self.norm.add(block)


def _real(blocks: Iterable[np.ndarray[Any, Any]]) -> Iterator[np.ndarray[Any, Any]]:
    """Yield blocks as doubles; a complex number becomes its magnitude."""
    import numpy as np

    for block in blocks:
        real = np.abs(block) if block.dtype.kind == "c" else block
        yield real.astype(np.float64)


def _histogram(
    blocks: Iterable[np.ndarray[Any, Any]], low: float, high: float, bins: int
) -> Histogram:
    import numpy as np

    if high - low < _LEAST_SPAN or not math.isfinite(high - low):  # one value, or no span
        half = max(abs(low) * 1e-6, 0.5) if math.isfinite(high - low) else 0.0
        low, high = (low - half, high + half) if half else (low / 2, high / 2)
    edges = np.linspace(low, high, bins + 1)
    counts = np.zeros(bins, np.int64)
    for block in blocks:
        counts += np.histogram(np.clip(block[np.isfinite(block)], low, high), edges)[0]
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
