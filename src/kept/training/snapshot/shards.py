"""The pieces that the processes of a run copy, if the weights are sharded across processes (JAX).

Invariant: the cut depends on shapes and types only. Each tensor of SMALL bytes or more is cut at
every LARGEST bytes from its start, where store/content/chunking.py cuts the file, too. So the same
values give the same chunks, whatever number of processes writes them. The owners depend on the
number of processes in addition. All processes compute both alike, without a message.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kept.store.content.chunking import LARGEST
from kept.training.snapshot.copying import copy_arrays
from kept.training.snapshot.devices.exchange import replicated, to_owners
from kept.training.snapshot.devices.job import Job
from kept.training.snapshot.devices.programs import range_of
from kept.training.snapshot.frameworks import ACROSS_PROCESSES
from kept.training.snapshot.pinned import is_on_accelerator, on_host
from kept.training.snapshot.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from kept.training.snapshot.copying import Pair
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


def plan(variables: Sequence[Variable], size: int, whole: Collection[int] = ()) -> list[Piece]:
    """Return the pieces of all variables, in order, each with its owner among `size` ranks.

    The bytes of the ranks are balanced as well as pieces of 16 MiB allow. `whole` are the ids of
    variables that belong to the first rank.
    """
    cut = [
        (n, start, min(start + LARGEST, total))
        for n, total in enumerate(int(variable.value.nbytes) for variable in variables)
        for start in range(0, total, LARGEST)
    ]
    sizes = [stop - start for _, start, stop in cut]
    small = [int(variables[n].value.nbytes) < SMALL or id(variables[n]) in whole for n, *_ in cut]
    owners = [0] * len(cut)
    loads = [(sum(one for one, is_small in zip(sizes, small, strict=True) if is_small), 0)]
    loads += [(0, rank) for rank in range(1, size)]
    heapq.heapify(loads)
    for index in sorted(range(len(cut)), key=lambda index: -sizes[index]):
        if not small[index]:
            load, owners[index] = loads[0]
            heapq.heapreplace(loads, (load + sizes[index], owners[index]))
    return [Piece(*one, owner) for one, owner in zip(cut, owners, strict=True)]


class ShardedSnapshot(Snapshot):
    """The values of variables at one moment, each piece in the memory of its owner.

    The buffers have the size of the whole values, in virtual memory. On each rank only its own
    pieces take memory; the others read as zeros.
    """

    is_sharded = True

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(ACROSS_PROCESSES)
        self._rank, self._ranks = rank, size
        self._pieces: list[Piece] = []
        self._memory: list[np.ndarray[Any, Any]] = []  # the bytes of each variable's buffer
        self._lacking: set[int] = set()  # ids of variables with pieces of other ranks
        # Ids of variables that are in no checkpoint of Keras: the first rank writes them into the
        # state of the run. All ranks set it, before they take the first values.
        self.whole: frozenset[int] = frozenset()

    def reserve(self, variables: Iterable[Variable]) -> None:
        """Make buffers for the variables; free those of another plan."""
        given = list({id(variable): variable for variable in variables}.values())
        pieces = plan(given, self._ranks, self.whole)
        if pieces != self._pieces or not self.has_buffers(given):
            self._values, self._memory, self._pieces = {}, [], pieces
        super().reserve(given)
        self._memory = [_bytes_of(self._values[id(one)][1]) for one in given]
        self._lacking = {id(given[one.variable]) for one in pieces if one.owner != self._rank}
        if self._cold:
            self._cold = [self._range(piece) for piece in pieces if piece.owner == self._rank]

    def take(self, variables: Iterable[Variable]) -> None:
        """Copy this rank's pieces. All ranks call it, with the same variables in the same order."""
        given = list({id(variable): variable for variable in variables}.values())
        self.reserve(given)
        with self._touching:
            self._cold.clear()
        values = [one.value for one in given]
        is_cut = [not getattr(value, "is_fully_replicated", True) for value in values]
        whole = [piece for piece in self._own() if not is_cut[piece.variable]]
        copy_arrays((self._range(one), _piece_of(values[one.variable], one)) for one in whole)
        cut = [piece for piece in self._pieces if is_cut[piece.variable]]
        copy_arrays(self._small([p for p in cut if values[p.variable].nbytes < SMALL], values))
        for pairs in self._large([p for p in cut if values[p.variable].nbytes >= SMALL], values):
            copy_arrays(pairs)

    def _small(self, pieces: list[Piece], values: list[Any]) -> Iterator[Pair]:
        arrays = replicated([values[piece.variable] for piece in pieces])
        for piece, array in zip(pieces, arrays, strict=True):
            if piece.owner == self._rank:
                yield self._range(piece), _bytes_of(np.asarray(array))

    def _large(self, pieces: list[Piece], values: list[Any]) -> Iterator[list[Pair]]:
        jobs = []
        for piece in pieces:
            value, width = values[piece.variable], values[piece.variable].dtype.itemsize
            start, stop = piece.start // width, piece.stop // width
            jobs.append(Job(value, start, stop, piece.owner, piece.variable))
        for arrived in to_owners(jobs):
            arrays = on_host([array for _, array, _ in arrived])
            yield [
                (self._of(job), _bytes_of(array.reshape(-1)[part]))
                for array, (job, _, part) in zip(arrays, arrived, strict=True)
            ]

    def _of(self, job: Job) -> np.ndarray[Any, Any]:
        width = job.array.dtype.itemsize
        return self._memory[job.variable][job.start * width : job.stop * width]

    def own_pieces(self) -> list[tuple[Piece, memoryview]]:
        """Return this rank's pieces with their bytes, in order."""
        return [(piece, self._range(piece).data.toreadonly()) for piece in self._own()]

    def foreign(self) -> list[tuple[memoryview, Piece]]:
        """Return the ranges of memory whose bytes other ranks have, and their pieces, in order."""
        others = [piece for piece in self._pieces if piece.owner != self._rank]
        return [(self._range(piece).data.toreadonly(), piece) for piece in others]

    def lacks(self, variable: Variable) -> bool:
        """See Snapshot."""
        return id(variable) in self._lacking and self.value(variable) is not None

    @property
    def size(self) -> int:
        """Bytes in this rank's host memory."""
        return sum(piece.size for piece in self._own())

    def _own(self) -> list[Piece]:
        return [piece for piece in self._pieces if piece.owner == self._rank]

    def _range(self, piece: Piece) -> np.ndarray[Any, Any]:
        return self._memory[piece.variable][_slice(piece)]


def _piece_of(value: Any, piece: Piece) -> np.ndarray[Any, Any]:
    """Return the bytes of a piece of a value that each device has as a whole."""
    if not hasattr(value, "addressable_data"):
        return _bytes_of(np.asarray(value))[_slice(piece)]
    local = value.addressable_data(0)
    if not is_on_accelerator(local):
        return _bytes_of(np.asarray(local))[_slice(piece)]
    width = local.dtype.itemsize
    return _bytes_of(on_host([range_of(local, piece.start // width, piece.stop // width)])[0])


def _slice(piece: Piece) -> slice:
    return slice(piece.start, piece.stop)


def _bytes_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    flat: np.ndarray[Any, Any] = array.reshape(-1)
    return flat.view(np.uint8)
