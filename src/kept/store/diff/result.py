"""What differs between two versions, or between a version and files on the disk."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from kept.store.tensors.tensor import StoredTensor

_LEAST, _MOST = 1e-290, 1e300  # a product of norms that its summands can reach, too
_FAR = 1e75  # a ratio of norms whose fourth power is a double

Kind = Literal["changed", "added", "removed", "reshaped", "renamed"]


@dataclass(frozen=True, slots=True)
class Figures:
    """How the elements of a tensor differ. Norms are of the elements that are finite in both."""

    compared: int  # elements that were read; the others are equal
    finite: int  # elements that are finite in both
    changed: int  # elements whose values differ; NaN equals NaN
    change: float  # the norm of the difference
    norm_before: float
    norm_after: float
    dot: float  # the scalar product of both
    nans: tuple[int, int]  # before and after
    infinities: tuple[int, int]

    @property
    def relative(self) -> float | None:
        """The norm of the change, relative to the norm before; infinite for a change from zero.

        None if no element is finite in both, or a norm is beyond a double.
        """
        if not self.finite or not math.isfinite(self.change + self.norm_before):
            return None
        if not self.change:
            return 0.0
        return self.change / self.norm_before if self.norm_before else math.inf

    @property
    def cosine(self) -> float | None:
        """The cosine of the angle between both.

        None if one of them is zero, or if their product is beyond a double.
        """
        if not _LEAST < self.norm_before * self.norm_after < _MOST:
            return None
        return max(-1.0, min(1.0, self.dot / self.norm_before / self.norm_after))

    @property
    def least_cosine(self) -> float | None:
        """The least cosine that whole tensors can have, if their other elements are equal.

        Equal elements add one number to the product and to the squares of both norms. If the norms
        differ, the cosine can fall at first; this is its lowest point.
        """
        cosine = self.cosine
        if cosine is None or cosine <= 0:
            return cosine
        shorter = min(self.norm_before, self.norm_after)
        ratio = max(self.norm_before, self.norm_after) / shorter
        change = (self.change / shorter) ** 2 if ratio < _FAR else math.inf
        if not 0 < change < math.inf:
            return cosine if not change else 0.0
        square = ratio**2  # of the longer one; that of the shorter one is 1
        equal = ((ratio - 1) * (ratio + 1)) ** 2 - change * (1 + square)
        equal = max(equal / (2 * change), 0.0)
        dot = (1 + square - change) / 2
        return min(cosine, (dot + equal) / math.sqrt((1 + equal) * (square + equal)))

    @property
    def became_wrong(self) -> bool:
        """Whether NaN or infinities have been added."""
        return sum(self.non_finite(1)) > sum(self.non_finite(0))

    def non_finite(self, side: int) -> tuple[int, int]:
        """Return the numbers of NaN and of infinities, before (0) or after (1)."""
        return self.nans[side], self.infinities[side]


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A tensor that differs. before or after is None if it was added or removed."""

    kind: Kind
    before: StoredTensor | None
    after: StoredTensor | None
    figures: Figures | None = None  # None unless the values were compared

    @property
    def tensor(self) -> StoredTensor:
        """The tensor as it is now; as it was, if it was removed."""
        found = self.after or self.before
        assert found is not None, "one of them is known"
        return found

    @property
    def name(self) -> str:
        """The name of the tensor, such as "dense/kernel"."""
        return self.tensor.name

    @property
    def layer(self) -> str:
        """The layer that it belongs to."""
        return self.tensor.layer

    @property
    def relative(self) -> float | None:
        """The norm of the change, relative to the norm before; None if no value is known."""
        return self.figures.relative if self.figures else None

    @property
    def cosine(self) -> float | None:
        """The cosine of the angle between both; the least possible one if only a part was read."""
        if self.figures is None:
            return None
        return self.figures.least_cosine if self.is_bound else self.figures.cosine

    @property
    def share(self) -> float | None:
        """The share of the elements that have changed."""
        if self.figures is None:
            return None
        return self.figures.changed / self.tensor.size if self.tensor.size else 0.0

    @property
    def is_bound(self) -> bool:
        """Whether only a part was read: relative is then at most this, and cosine at least."""
        return self.figures is not None and self.figures.compared < self.tensor.size

    def to_json(self) -> dict[str, Any]:
        """Return plain values; a number that is not finite becomes a text."""
        found: dict[str, Any] = {
            "name": self.name,
            "layer": self.layer,
            "kind": self.kind,
            "role": self.tensor.role,
            "file": self.tensor.file,
            "before": _described(self.before),
            "after": _described(self.after),
        }
        if self.figures is None:
            return found
        values = self.figures
        return found | {
            "relative": number(values.relative),
            "cosine": number(self.cosine),
            "share": self.share,
            "changed": values.changed,
            "finite": values.finite,
            "compared": values.compared,
            "change": number(values.change),
            "norms": [number(values.norm_before), number(values.norm_after)],
            "nans": list(values.nans),
            "infinities": list(values.infinities),
            "is_bound": self.is_bound,
        }


@dataclass(frozen=True, slots=True)
class LayerChange:
    """The tensors of a layer that differ, together. relative is over those that were compared."""

    layer: str
    tensors: int
    changed: int  # elements
    size: int  # elements of the tensors that differ
    relative: float | None  # None if no finite value was compared
    non_finite: tuple[int, int]  # NaN and infinities, before and after

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"relative": number(self.relative)}


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A value of the metadata, the metrics or the configuration that differs."""

    key: str
    kind: Literal["changed", "added", "removed"]
    before: Any = None
    after: Any = None

    @property
    def difference(self) -> float | None:
        """The value after minus the one before, if both are numbers that a double can hold."""
        if self.kind == "changed" and _is_number(self.before) and _is_number(self.after):
            with contextlib.suppress(OverflowError):  # an integer can have any size
                return float(self.after) - float(self.before)
        return None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; those of a missing side are left out."""
        found: dict[str, Any] = {"key": self.key, "kind": self.kind}
        found |= {"before": number(self.before)} if self.kind != "added" else {}
        found |= {"after": number(self.after)} if self.kind != "removed" else {}
        difference = self.difference
        return found if difference is None else found | {"difference": number(difference)}


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that differs."""

    path: str  # after; before, if it was removed
    kind: Literal["changed", "added", "removed", "renamed"]
    path_before: str | None
    size_before: int | None
    size_after: int | None
    bytes_new: int  # of its chunks that the other side lacks
    has_tensors: bool  # so `tensors` says what differs inside it

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Diff:
    """What differs between two versions, largest change first.

    `tensors` has the weights, and `optimizer` the state of the optimizer; both only what differs.
    Files on the disk have no metadata, so `metadata`, `metrics` and `aliases` are empty then.
    """

    before: str
    after: str
    tensors: tuple[TensorChange, ...] = ()
    optimizer: tuple[TensorChange, ...] = ()
    layers: tuple[LayerChange, ...] = ()
    metrics: tuple[ValueChange, ...] = ()
    metadata: tuple[ValueChange, ...] = ()
    config: tuple[ValueChange, ...] = ()
    files: tuple[FileChange, ...] = ()
    aliases: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    unchanged: int = 0  # tensors
    bytes_read: int = 0
    bytes_total: int = field(default=0)  # of both sides

    @property
    def differs(self) -> bool:
        """Whether anything differs, except aliases."""
        parts = ("tensors", "optimizer", "metrics", "metadata", "config", "files")
        return any(getattr(self, part) for part in parts)

    def to_json(self) -> dict[str, Any]:
        """Return what json can write."""
        found: dict[str, Any] = {"differs": self.differs}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "aliases":
                found["aliases"] = {"before": list(value[0]), "after": list(value[1])}
            elif isinstance(value, tuple):
                found[each.name] = [change.to_json() for change in value]
            else:
                found[each.name] = value
        return found


def number(value: Any) -> Any:
    """Return a value as JSON can hold it: a number that is not finite becomes a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: number(inner) for key, inner in value.items()}
    return list(map(number, value)) if isinstance(value, (list, tuple)) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _described(tensor: StoredTensor | None) -> dict[str, Any] | None:
    if tensor is None:
        return None
    return {
        "name": tensor.name,
        "path": tensor.path,
        "file": tensor.file,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "nbytes": tensor.nbytes,
    }
