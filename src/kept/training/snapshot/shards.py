"""The pieces that the processes of a run copy, if the weights are sharded across processes (JAX).

Invariant: the cut depends on shapes and types only. Each tensor of SMALL bytes or more is cut at
every LARGEST bytes from its start, where store/content/chunking.py cuts the file, too. So the same
values give the same chunks, whatever number of processes writes them. The owners depend on the
number of processes in addition. All processes compute both alike, without a message.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.store.content.chunking import LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kept.training.snapshot.frameworks import Variable

SMALL = 64 * 1024  # bytes; smaller tensors are pieces of the first rank


class Piece(NamedTuple):
    """A range of a variable's bytes, and the rank that copies it and stores it."""

    variable: int  # index in the given order
    start: int  # first byte in the tensor
    stop: int  # first byte after
    owner: int

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.stop - self.start


def is_sharded(variables: Iterable[Variable]) -> bool:
    """Return whether some process has not all parts of some variable on its devices.

    All processes get the same answer.
    """
    return any(lacks_parts(variable.value) for variable in variables)


def lacks_parts(value: Any) -> bool:
    """Return whether some process has not all parts of a value on its devices."""
    if getattr(value, "is_fully_addressable", True) or value.is_fully_replicated:
        return False
    parts_of: dict[int, set[Any]] = {}
    for device, index in value.sharding.devices_indices_map(value.shape).items():
        part = tuple((one.start, one.stop) for one in index)
        parts_of.setdefault(device.process_index, set()).add(part)
    return len(set(map(frozenset, parts_of.values()))) > 1


def plan(variables: Sequence[Variable], size: int) -> list[Piece]:
    """Return the pieces of all variables, in order, each with its owner among `size` ranks.

    The bytes of the ranks are balanced as well as pieces of 16 MiB allow.
    """
    cut = [
        (n, start, min(start + LARGEST, total))
        for n, total in enumerate(int(variable.value.nbytes) for variable in variables)
        for start in range(0, total, LARGEST)
    ]
    sizes = [stop - start for _, start, stop in cut]
    small = [int(variables[n].value.nbytes) < SMALL for n, *_ in cut]
    owners = [0] * len(cut)
    loads = [(sum(one for one, is_small in zip(sizes, small, strict=True) if is_small), 0)]
    loads += [(0, rank) for rank in range(1, size)]
    heapq.heapify(loads)
    for index in sorted(range(len(cut)), key=lambda index: -sizes[index]):
        if not small[index]:
            load, owners[index] = loads[0]
            heapq.heapreplace(loads, (load + sizes[index], owners[index]))
    return [Piece(*one, owner) for one, owner in zip(cut, owners, strict=True)]
