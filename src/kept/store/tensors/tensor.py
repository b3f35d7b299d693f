"""A tensor as a file holds it: its name, its kind, and the place of its bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from kept.store.tensors.kinds import width_of

if TYPE_CHECKING:
    from kept.store.content.chunking import Range

Role = Literal["weights", "optimizer", "state"]


class Piece(NamedTuple):
    """A part of a tensor's stored bytes: a range of a chunk, whose digest names the content."""

    digest: str
    offset: int  # in the chunk
    size: int
    blob: str  # that holds the chunk


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file of a version, or in a file on the disk."""

    file: str  # the path of the file in the version
    path: str  # in the file: "layers/dense/vars/0"
    name: str  # for people: "dense/kernel"; equal to path if nothing better is known
    layer: str  # "dense", "" for the model itself
    shape: tuple[int, ...]
    dtype: str  # "float32", "bfloat16"; "raw16" if it is unknown what the bytes mean
    ranges: tuple[Range, ...]  # of the file, that hold its bytes
    is_plain: bool  # the ranges are the values, neither compressed nor in parts
    role: Role = "weights"
    is_big_endian: bool = False
    is_fortran: bool = False  # the first index changes fastest

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of its elements, uncompressed."""
        return self.size * width_of(self.dtype)

    @property
    def is_optimizer(self) -> bool:
        """Whether it is state of the optimizer."""
        return self.role == "optimizer"
