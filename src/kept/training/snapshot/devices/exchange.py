"""Brings pieces of sharded arrays to the processes that own them, on the devices.

Invariant: all processes call these functions with the same arrays in the same order, so they start
the same programs in the same order. Each program moves one piece to each device: every device cuts
the rows of a piece from its part of an array, and one all-to-all brings the parts together. So a
device never holds more than a few pieces in addition, and each byte travels once.
"""

from __future__ import annotations

import functools
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kept.training.snapshot.devices.layout import Layout, layout_of, placed
from kept.training.snapshot.devices.programs import bits, on_each_device, replicate
from kept.training.snapshot.devices.recut import along_columns, along_one_dimension

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.training.snapshot.devices.layout import Device, JaxArray

    Host = np.ndarray[Any, Any]

_TOGETHER = 256  # small arrays that one program brings to all processes


class Job(NamedTuple):
    """A range of elements of an array, and the rank of the process that gets it."""

    array: JaxArray
    start: int  # first element
    stop: int
    owner: int
    key: int  # the caller's own name of it


def replicated(arrays: Sequence[JaxArray]) -> Iterator[JaxArray]:
    """Yield copies of small arrays, each whole on every device."""
    for start in range(0, len(arrays), _TOGETHER):
        yield from replicate(tuple(arrays[start : start + _TOGETHER]))


def to_owners(jobs: Sequence[Job], largest: int) -> Iterator[list[tuple[Job, JaxArray, slice]]]:
    """Yield this process's pieces: the job, an array on one device, the elements in it.

    A piece has up to `largest` bytes. All processes have to take all that is yielded.
    """
    of_layout: dict[Layout, list[Job]] = {}
    alone: dict[int, list[Job]] = {}
    layouts: dict[int, Layout | None] = {}
    for job in jobs:
        name = id(job.array)
        if name not in layouts:
            layouts[name] = layout_of(job.array)
        layout = layouts[name]
        if layout is None or _needs_other_cut(layout, largest):
            alone.setdefault(name, []).append(job)
        else:
            of_layout.setdefault(layout, []).append(job)
    for layout, some in of_layout.items():
        yield from _rounds(layout, some, largest)
    for some in alone.values():
        yield from _moved(layouts[id(some[0].array)], some, largest)


def _needs_other_cut(layout: Layout, largest: int) -> bool:
    """Return whether rows are so long that a piece would bring along much more than itself."""
    row = layout.row * layout.dtype.itemsize
    return layout.rows * row > largest and row > largest // 2


def _moved(
    layout: Layout | None, jobs: list[Job], largest: int
) -> Iterator[list[tuple[Job, JaxArray, slice]]]:
    """Cut one array along another dimension first; if there is none, replicate it."""
    array = jobs[0].array
    found = along_one_dimension(array) if layout is None else (layout, array)
    if found is not None and _needs_other_cut(found[0], largest):
        found = along_columns(*found)
    if found is None:
        yield from _from_whole(jobs)
        return
    layout, array = found
    yield from _rounds(layout, [job._replace(array=array) for job in jobs], largest)


def _rounds(
    layout: Layout, jobs: list[Job], largest: int
) -> Iterator[list[tuple[Job, JaxArray, slice]]]:
    """Bring one piece to each device at a time, until all are at their owners."""
    queues: dict[int, deque[Job]] = {}
    for job in jobs:
        queues.setdefault(job.owner, deque()).append(job)
    elements = largest // layout.dtype.itemsize
    window = min(layout.rows, -(-elements // layout.row) + 1)
    while any(queues.values()):
        before = sum(map(len, queues.values()))
        yield _round(layout, queues, window, jobs[0])
        assert sum(map(len, queues.values())) < before, "a rank has no device of the mesh"


def _round(
    layout: Layout, queues: dict[int, deque[Job]], window: int, dummy: Job
) -> list[tuple[Job, JaxArray, slice]]:
    starts = np.zeros((layout.parts, len(layout.devices[0])), np.int32)
    chosen: dict[Device, Job] = {}
    sent = [[dummy] * starts.shape[1] for _ in range(starts.shape[0])]
    for part, devices in enumerate(layout.devices):
        for copy, device in enumerate(devices):
            queue = queues.get(device.process_index)
            if queue:
                job = chosen[device] = sent[part][copy] = queue.popleft()
                starts[part, copy] = min(job.start // layout.row, layout.rows - window)
    arrays = [placed(layout.sharding, [job.array for job in some]) for some in sent]
    result = _program(layout, window)(starts, *arrays)
    found = []
    place = {d: (p, c) for p, ds in enumerate(layout.devices) for c, d in enumerate(ds)}
    for shard in result.addressable_shards:
        if shard.device in chosen:
            job = chosen[shard.device]
            offset = int(starts[place[shard.device]]) * layout.row
            found.append((job, shard.data, slice(job.start - offset, job.stop - offset)))
    return found


@functools.lru_cache(maxsize=256)
def _program(layout: Layout, window: int) -> Any:
    """Return the program that brings `window` rows of one array to each device."""
    import jax
    from jax import lax
    from jax import numpy as jnp
    from jax.sharding import PartitionSpec

    share = layout.row // layout.parts

    def exchange(starts: JaxArray, *blocks: JaxArray) -> JaxArray:
        copy = lax.axis_index("copy")
        cut = [
            lax.dynamic_slice_in_dim(table, starts[n, copy], window)
            for n, table in enumerate(bits(block).reshape(layout.rows, share) for block in blocks)
        ]
        got = lax.all_to_all(jnp.stack(cut), "part", split_axis=0, concat_axis=0)
        return jnp.moveaxis(got, 0, 1).reshape(1, -1)

    specs = (PartitionSpec(), *[layout.spec] * layout.parts)
    out = PartitionSpec(("part", "copy"))
    return jax.jit(on_each_device(exchange, layout.sharding.mesh, specs, out))


def _from_whole(jobs: list[Job]) -> Iterator[list[tuple[Job, JaxArray, slice]]]:
    """Replicate an array that cannot be cut otherwise; each owner takes its pieces."""
    import jax

    (whole,) = replicate((jobs[0].array,))
    local = whole.addressable_data(0).reshape(-1)
    for job in jobs:
        if job.owner == jax.process_index():
            yield [(job, local, slice(job.start, job.stop))]
