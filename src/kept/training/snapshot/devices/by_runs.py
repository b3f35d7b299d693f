"""Brings ranges of arrays to their owners, if each device has long runs of elements.

A job becomes runs that one device has. In one program each device sends a run to the device that
is a number of parts further, the same number for all.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kept.training.snapshot.devices.job import Job, places_of
from kept.training.snapshot.devices.layout import Layout, placed
from kept.training.snapshot.devices.programs import bits, on_each_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.snapshot.devices.job import Arrived
    from kept.training.snapshot.devices.layout import JaxArray

    Place = tuple[int, int]  # part and copy


class _Run(NamedTuple):
    job: Job
    place: Place  # of the device that has it
    start: int  # first element in that device's part


def by_runs(layout: Layout, jobs: list[Job], window: int) -> Iterator[list[Arrived]]:
    """Bring up to `window` elements to each device at a time, until all are at their owners."""
    cycles = {owner: itertools.cycle(places) for owner, places in places_of(layout).items()}
    window = min(window, layout.row // layout.parts)
    queues: dict[int, dict[Place, deque[_Run]]] = {}
    for job in jobs:
        for part, run in _runs(layout, job, window):
            to, copy = next(cycles[job.owner])
            of_distance = queues.setdefault((to - part) % layout.parts, {})
            queue = of_distance.setdefault((part, copy), deque())
            queue.append(run._replace(place=(part, copy)))
    for distance, of_distance in sorted(queues.items()):
        while any(of_distance.values()):
            turn = [queue.popleft() for queue in of_distance.values() if queue]
            yield _round(layout, turn, (distance, window), jobs[0].array)


def _runs(layout: Layout, job: Job, window: int) -> Iterator[tuple[int, _Run]]:
    """Yield parts, and runs of a job in them."""
    share, start = layout.row // layout.parts, job.start
    while start < job.stop:
        row, column = divmod(start, layout.row)
        part, before = divmod(column, share)
        stop = min(start + share - before, start + window, job.stop)
        run = job._replace(start=start, stop=stop)
        yield part, _Run(run, (part, 0), row * share + before)
        start = stop


def _round(
    layout: Layout, turn: list[_Run], how: tuple[int, int], unused: JaxArray
) -> list[Arrived]:
    distance, window = how
    starts = np.zeros((layout.parts, len(layout.devices[0])), np.int32)
    grid = dict.fromkeys(np.ndindex(starts.shape), unused)
    last = layout.rows * layout.row // layout.parts - window
    for run in turn:
        grid[run.place] = run.job.array
        starts[run.place] = min(run.start, last)
    result = _program(layout, distance, window)(starts, placed(layout.sharding, grid))
    blocks = {shard.device: shard.data for shard in result.addressable_shards}
    found = []
    for run in turn:
        part, copy = run.place
        block = blocks.get(layout.devices[(part + distance) % layout.parts][copy])
        if block is not None:
            begin = run.start - int(starts[run.place])
            found.append((run.job, block, slice(begin, begin + run.job.stop - run.job.start)))
    return found


@functools.lru_cache(maxsize=256)
def _program(layout: Layout, distance: int, window: int) -> Any:
    """Return the program that sends a run from each device to the one `distance` parts further."""
    import jax
    from jax import lax
    from jax.sharding import PartitionSpec

    order = [(part, (part + distance) % layout.parts) for part in range(layout.parts)]

    def send(starts: JaxArray, block: JaxArray) -> JaxArray:
        start = starts[lax.axis_index("part"), lax.axis_index("copy")]
        run = lax.dynamic_slice_in_dim(bits(block).reshape(-1), start, window)
        return (lax.ppermute(run, "part", order) if distance else run).reshape(1, -1)

    out = PartitionSpec(("part", "copy"))
    specs = (PartitionSpec(), layout.spec)
    return jax.jit(on_each_device(send, layout.sharding.mesh, specs, out))
