"""Brings pieces of sharded arrays to the processes that own them, on the devices.

Invariant: all processes call these functions with the same arrays in the same order, so they start
the same programs in the same order. One program moves a few MiB to each device. So a device never
holds more in addition, and hardly a byte travels twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.training.snapshot.devices.by_rows import by_rows
from kept.training.snapshot.devices.by_runs import by_runs
from kept.training.snapshot.devices.layout import Layout, layout_of
from kept.training.snapshot.devices.one_dimension import along_one_dimension
from kept.training.snapshot.devices.programs import range_of, replicate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.training.snapshot.devices.job import Arrived, Job
    from kept.training.snapshot.devices.layout import JaxArray

_TOGETHER = 256  # small arrays that one program brings to all processes
# Bytes that a device gets at a time. On CPUs the sockets are the slow part: of 16 MiB they needed
# 94 ms, of eight times 2 MiB 17 ms. And malloc keeps what large arrays leave.
_ON_CPU, _ON_ACCELERATOR = 2 * 1024 * 1024, 16 * 1024 * 1024


def replicated(arrays: Sequence[JaxArray]) -> Iterator[JaxArray]:
    """Yield copies of small arrays, their bits, each whole on every device."""
    for start in range(0, len(arrays), _TOGETHER):
        yield from replicate(tuple(arrays[start : start + _TOGETHER]))


def to_owners(jobs: Sequence[Job]) -> Iterator[list[Arrived]]:
    """Yield what arrives on this process's devices; all processes have to take all of it.

    A job may arrive in several parts, each a job of a part of its range.
    """
    of_layout: dict[Layout, list[Job]] = {}
    others: dict[int, list[Job]] = {}
    layouts: dict[int, Layout | None] = {}
    for job in jobs:
        name = id(job.array)
        if name not in layouts:
            layouts[name] = layout_of(job.array)
        layout = layouts[name]
        if layout is None:
            others.setdefault(name, []).append(job)
        else:
            of_layout.setdefault(layout, []).append(job)
    for layout, some in of_layout.items():
        yield from _brought(layout, some)
    for some in others.values():
        found = along_one_dimension(some[0].array)
        if found is None:
            yield from _from_whole(some)
        else:
            yield from _brought(found[0], [job._replace(array=found[1]) for job in some])


def _brought(layout: Layout, jobs: list[Job]) -> Iterator[list[Arrived]]:
    on_cpu = layout.devices[0][0].platform == "cpu"
    window = (_ON_CPU if on_cpu else _ON_ACCELERATOR) // layout.dtype.itemsize
    bring = by_rows if layout.row <= window else by_runs
    yield from bring(layout, jobs, window)


def _from_whole(jobs: list[Job]) -> Iterator[list[Arrived]]:
    """Replicate an array that is cut in a way of its own; each owner takes its pieces."""
    import jax

    (whole,) = replicate((jobs[0].array,))
    local = whole.addressable_data(0)
    for job in jobs:
        if job.owner == jax.process_index():
            found = range_of(local, job.start, job.stop)
            yield [(job, found, slice(0, job.stop - job.start))]
