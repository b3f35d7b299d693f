"""Measures the health of each checkpoint, on the thread that writes it.

It reads the snapshot once more, and what it found stays for the next save: norms and dead units,
no values. A model of many small tensors has them joined first, because each call of NumPy costs as
much as a small tensor. An error here fails no save: the version then has no health.
"""

from __future__ import annotations

import operator
import weakref
from dataclasses import dataclass, field, replace
from itertools import starmap
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.messages import show_once
from kept.store.health import measure
from kept.store.health.findings import Layers, Statistics, Wrong, judge
from kept.store.health.state import is_unhealthy
from kept.training.health.tensors import Tensor, live_tensors, tensors_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kept.store.encoding import Json
    from kept.training.request import SaveRequest
    from kept.training.snapshot.frameworks import Variable
    from kept.training.snapshot.snapshot import Snapshot

    Array = np.ndarray[Any, Any]

_SMALL = 4096  # values; smaller tensors are joined
# Bytes that are joined: they stay in the cache, and the system gives no new memory.
_AT_ONCE = 120_000


class HealthProbe:
    """Measures the versions of one callback, in their order."""

    def __init__(self) -> None:
        self._plan: _Plan | None = None
        self._before: Statistics | None = None
        self._healthy: Statistics | None = None  # of the newest version that is not unhealthy
        self._model: weakref.ref[Any] | None = None  # of the version before

    def measured(self, request: SaveRequest, snapshot: Snapshot | None) -> SaveRequest:
        """Return the request with the health of its checkpoint.

        An unhealthy one does not contend for best, and does not replace the file of the best one.
        Without a snapshot the values of the model are read, on the thread that saves it.
        """
        if snapshot is not None and snapshot.is_sharded:
            return request  # other processes have parts of the values
        try:
            now = self._statistics(request.model, snapshot)
            if self._model is None or self._model() is not request.model:
                self._before = self._healthy = None
            found: Mapping[str, Json] = judge(now, self._before, self._healthy)
            self._model = weakref.ref(request.model)
        except Exception as error:  # noqa: BLE001 - of a model's own variables, too
            show_once(f"health is not measured: {type(error).__name__}: {error}")
            return request
        self._before = now
        request = request.with_metadata(found)
        if not is_unhealthy(found):
            self._healthy = now
            return request
        publish = request.publish and not request.best_only
        return replace(request, contends=False, publish=publish)

    def _statistics(self, model: Any, snapshot: Snapshot | None) -> Statistics:
        if snapshot is None:
            tensors, arrays = live_tensors(model)
            live = _Plan(tensors, [])
            return live.statistics(list(starmap(live.large, enumerate(arrays))))
        references, buffers = snapshot.held()
        plan = self._plan
        if plan is None or not plan.is_of(references):
            plan = self._plan = _Plan(tensors_of(model, snapshot), references)
        return plan.measure(snapshot, buffers)


@dataclass(slots=True)
class _Small:
    """Small tensors of one type, which are joined."""

    dtype: str
    numbers: Array  # of the tensors in the plan
    sizes: Array
    starts: Array
    first_rows: Array  # the places of the first rows of its kernels
    kernel_of: Array  # the tensor of each of these places


class _Plan:
    """Which tensors a model has, and where they are in a snapshot; it stays until they change."""

    def __init__(
        self, tensors: Sequence[Tensor], references: Sequence[weakref.ref[Variable]]
    ) -> None:
        self._references = references
        self._tensors = tensors
        names = list(dict.fromkeys(one.layer for one in tensors if one.layer))
        place = {name: n for n, name in enumerate(names)}
        self._layer_of = np.array([place.get(one.layer, -1) for one in tensors], np.int64)
        counts = [0] * len(names)
        for one in tensors:
            if one.layer:
                counts[place[one.layer]] += one.size
        kernels = {one.name: one.units for one in tensors if one.units}
        self._layers = Layers(tuple(names), tuple(counts), kernels)
        self._is_weight = np.array([one.is_weight for one in tensors], bool)
        self._small = [_joined(tensors, numbers) for numbers in _together(tensors)]
        self._large = [n for n, one in enumerate(tensors) if one.size > _SMALL]

    def is_of(self, references: Sequence[weakref.ref[Variable]]) -> bool:
        """Return whether a snapshot holds the same variables.

        A variable has one weak reference, so the same references mean the same variables.
        """
        known = self._references
        return len(known) == len(references) and all(map(operator.is_, known, references))

    def measure(self, snapshot: Snapshot, buffers: Sequence[Any]) -> Statistics:
        """Return the statistics of a snapshot."""
        found = [self.large(n, snapshot.bytes_of(buffers[self._tensors[n].place]))
                 for n in self._large]  # fmt: skip
        for group in self._small:
            members = [buffers[self._tensors[n].place] for n in group.numbers]
            found.append(self._joined(group, snapshot.joined(members)))
        return self.statistics(found)

    def large(self, number: int, data: Array) -> _Part:
        """Return what one tensor has."""
        tensor = self._tensors[number]
        figures = measure.figures(data, tensor.dtype)
        part = _Part(np.array([number]), np.array([figures.squares]))
        if figures.nans or figures.infinities:
            part.wrong.append(_wrong(tensor, figures))
        if tensor.units:
            self._add_dead(part, tensor, data)
        return part

    def _joined(self, group: _Small, data: Array) -> _Part:
        squares, wrong = measure.figures_of_many(data, group.dtype, group.sizes)
        part = _Part(group.numbers, squares)
        for n, figures in wrong.items():
            if figures.nans or figures.infinities:
                part.wrong.append(_wrong(self._tensors[group.numbers[n]], figures))
        width = measure.width_of(group.dtype)
        zeros = measure.zeros_at(data, group.dtype, group.first_rows)
        for n in dict.fromkeys(group.kernel_of[zeros].tolist()):
            tensor, start = self._tensors[group.numbers[n]], int(group.starts[n])
            self._add_dead(part, tensor, data[start * width : (start + tensor.size) * width])
        return part

    @staticmethod
    def _add_dead(part: _Part, tensor: Tensor, data: Array) -> None:
        dead = measure.dead_units(data, tensor.dtype, tensor.units)
        if dead.size:
            part.dead[tensor.name] = frozenset(dead.tolist())

    def statistics(self, parts: Iterable[_Part]) -> Statistics:
        """Return the statistics of all tensors together."""
        squares = np.zeros(len(self._tensors))
        dead: dict[str, frozenset[int]] = {}
        wrong: list[Wrong] = []
        for part in parts:
            squares[part.numbers] = part.squares
            dead |= part.dead
            wrong += part.wrong
        is_of_layer = self._layer_of >= 0
        sums = np.bincount(
            self._layer_of[is_of_layer], squares[is_of_layer], len(self._layers.names)
        )
        norm = measure.norm(squares[self._is_weight])
        with np.errstate(all="ignore"):
            return Statistics(self._layers, np.sqrt(sums), dead, norm, wrong)


@dataclass(slots=True)
class _Part:
    """What some of the tensors have."""

    numbers: Array  # of the tensors in the plan
    squares: Array
    dead: dict[str, frozenset[int]] = field(default_factory=dict)
    wrong: list[Wrong] = field(default_factory=list)


def _wrong(tensor: Tensor, figures: measure.Figures) -> Wrong:
    is_fixed = tensor.is_weight and not tensor.layer
    return Wrong(tensor.name, tensor.size, figures, is_fixed)


def _together(tensors: Sequence[Tensor]) -> Iterator[list[int]]:
    """Yield the numbers of small tensors of one type that are joined."""
    found: dict[str, tuple[list[int], int]] = {}
    for n, one in enumerate(tensors):
        if one.size <= _SMALL:
            size = one.size * measure.width_of(one.dtype)
            numbers, total = found.get(one.dtype, ([], 0))
            if total + size > _AT_ONCE:
                yield numbers
                numbers, total = [], 0
            numbers.append(n)
            found[one.dtype] = numbers, total + size
    yield from (numbers for numbers, _ in found.values())


def _joined(tensors: Sequence[Tensor], numbers: list[int]) -> _Small:
    sizes = np.array([tensors[n].size for n in numbers], np.int64)
    starts = np.cumsum(sizes) - sizes
    units = np.array([tensors[n].units for n in numbers], np.int64)
    kernel_of = np.repeat(np.arange(len(numbers)), units)
    ends = np.cumsum(units)
    within = np.arange(int(units.sum())) - np.repeat(ends - units, units)
    first_rows = np.repeat(starts, units) + within
    dtype = tensors[numbers[0]].dtype
    return _Small(dtype, np.array(numbers), sizes, starts, first_rows, kernel_of)
