"""Script: what a snapshot of 200 MB costs each process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.distributed.child import RANK, WORLD, join, report

MB = 1024 * 1024
KINDS = [((12_000, 1024), ("model", None))]
KINDS += [
    ((1024, 2048), (None, "model")),
    ((2048, 1024), ("model", None)),
    ((2048,), ("model",)),
    ((1024,), ()),
] * 9


class Variable:
    def __init__(self, value: Any) -> None:
        self.value = value


def megabytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def value(n: int, mesh: Any) -> Any:
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    shape, axes = KINDS[n]

    def part(index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        lengths = [len(range(*one.indices(end))) for one, end in zip(index, shape, strict=True)]
        return np.full(lengths, n + 1, "float32")

    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.make_array_from_callback(shape, sharding, part)


def copy_of(size: int) -> float:
    """Return the seconds that a warm copy in host memory takes."""
    from kept.training.snapshot.copying import copy_arrays

    source, target, seconds = np.ones(size, np.uint8), np.ones(size, np.uint8), []
    for _ in range(5):
        start = time.perf_counter()
        copy_arrays([(target, source)])
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    join("jax")
    import jax
    from jax.sharding import Mesh

    from kept.training.snapshot.shards import ShardedSnapshot

    mesh = Mesh(np.array(jax.devices()), ("model",))
    jax.block_until_ready(value(3, mesh) + 1)  # so that JAX has made what it makes once
    before = megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    variables = [Variable(value(n, mesh)) for n in range(len(KINDS))]
    snapshot = ShardedSnapshot(RANK, WORLD)
    snapshot.reserve(variables)
    snapshot.touch()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        snapshot.take(variables)
        seconds.append(time.perf_counter() - start)
    peak = megabytes("VmHWM") - before
    reads = megabytes("VmRSS")
    assert all(snapshot.memory(one) is not None for one in variables)
    total = sum(np.frombuffer(memory, np.uint8).any() for memory, _ in snapshot.foreign())
    size = sum(one.value.nbytes for one in variables)
    report(size=size / MB, own=snapshot.size / MB, peak=peak, not_zero=int(total))
    report(reading=megabytes("VmRSS") - reads, seconds=seconds, copy=copy_of(snapshot.size))


main()
