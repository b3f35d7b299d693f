"""Brings rows of arrays to their owners, if each device has some columns of each row.

Every device cuts the rows of a job from its part of the array, for each device of its copy, and
one all-to-all brings the columns together.
"""

from __future__ import annotations

import functools
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.training.snapshot.devices.job import Job, places_of
from kept.training.snapshot.devices.layout import Layout, placed
from kept.training.snapshot.devices.programs import bits, on_each_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.snapshot.devices.job import Arrived
    from kept.training.snapshot.devices.layout import JaxArray


def by_rows(layout: Layout, jobs: list[Job], window: int) -> Iterator[list[Arrived]]:
    """Bring `window` elements to each device at a time, until all are at their owners."""
    queues: dict[int, deque[Job]] = {}
    for job in jobs:
        queues.setdefault(job.owner, deque()).extend(job.parts(window))
    places = places_of(layout)
    rows = min(layout.rows, -(-window // layout.row) + 1)
    while any(queues.values()):
        turn = {
            place: queues[owner].popleft()
            for owner in queues
            for place in places[owner][: len(queues[owner])]
        }
        yield _round(layout, turn, rows, jobs[0].array)


def _round(
    layout: Layout, turn: dict[tuple[int, int], Job], rows: int, unused: JaxArray
) -> list[Arrived]:
    copies = range(len(layout.devices[0]))
    starts = np.zeros((layout.parts, len(copies)), np.int32)
    for place, job in turn.items():
        starts[place] = min(job.start // layout.row, layout.rows - rows)
    arrays = []
    for part in range(layout.parts):  # the jobs of the devices with this part, one in each copy
        given = [turn.get((part, copy)) for copy in copies]
        each = [unused if job is None else job.array for job in given]
        grid = {place: each[place[1]] for place in np.ndindex(starts.shape)}
        arrays.append(placed(layout.sharding, grid))
    result = _program(layout, rows)(starts, *arrays)
    blocks = {shard.device: shard.data for shard in result.addressable_shards}
    found = []
    for place, job in turn.items():
        block = blocks.get(layout.devices[place[0]][place[1]])
        if block is not None:
            offset = int(starts[place]) * layout.row
            found.append((job, block, slice(job.start - offset, job.stop - offset)))
    return found


@functools.lru_cache(maxsize=256)
def _program(layout: Layout, rows: int) -> Any:
    """Return the program that brings rows of one array to each device."""
    import jax
    from jax import lax
    from jax import numpy as jnp
    from jax.sharding import PartitionSpec

    share = layout.row // layout.parts

    def exchange(starts: JaxArray, *blocks: JaxArray) -> JaxArray:
        copy = lax.axis_index("copy")
        cut = [
            lax.dynamic_slice_in_dim(table, starts[n, copy], rows)
            for n, table in enumerate(bits(block).reshape(layout.rows, share) for block in blocks)
        ]
        got = lax.all_to_all(jnp.stack(cut), "part", split_axis=0, concat_axis=0)
        return jnp.moveaxis(got, 0, 1).reshape(1, -1)

    specs = (PartitionSpec(), *[layout.spec] * layout.parts)
    out = PartitionSpec(("part", "copy"))
    return jax.jit(on_each_device(exchange, layout.sharding.mesh, specs, out))
