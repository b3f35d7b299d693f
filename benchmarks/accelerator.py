"""Saving a model that trains on an NVIDIA GPU: the stall against the speed of the copy to the host.

`KERAS_BACKEND=torch python -m benchmarks.accelerator` (or jax), on a machine with a GPU. The limit
is one copy of as many bytes, in one piece, to pinned host memory: no snapshot can be faster.
"""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

import keras
import numpy as np

from benchmarks.contenders import Contender, Kept, KerasFile
from benchmarks.measure import timed
from benchmarks.models import dense, fed, samples, variables
from benchmarks.training import Plan, run_fit
from kept.training.snapshot.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS, EPOCHS = 7, 4


def main(megabytes: float = 1500, steps: int = 1000) -> None:
    """Measure, and print the ratios."""
    model = dense(megabytes)
    model.fit(**fed(samples(model, 1), 3), epochs=1, verbose=0)
    wanted = variables(model)
    size = sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in wanted)
    limit = best(limit_of(size))
    snapshot = Snapshot(keras.backend.backend())
    snapshot.take(wanted)
    taken = best(lambda: snapshot.take(wanted))
    name = keras.backend.backend()
    print(f"{name}: {len(wanted)} variables, {size / 1e6:.0f} MB; the limit is "
          f"{size / limit / 1e9:.1f} GB/s")  # fmt: skip
    print(f"{name}: snapshot / limit {taken / limit:.2f}")
    plan = Plan("accelerator", steps, EPOCHS)
    runs = {each.name: run_fit(each, model, plan) for each in (Contender(), Kept(), KerasFile())}
    ours, keras_file = runs["kept"], runs[KerasFile.name]
    print(f"{name}: stall of a save / limit {ours.stall / limit:.2f}")
    print(f"{name}: stall of {KerasFile.name} / kept's {keras_file.stall / ours.stall:.1f}")
    busy, free = ours.rate(busy=True), runs[Contender.name].rate(busy=False)
    print(f"{name}: steps/s while saving / without saves {busy / free:.2f}")
    print(f"{name}: {EPOCHS} epochs with kept / with {KerasFile.name} "
          f"{ours.total / keras_file.total:.2f}")  # fmt: skip


def best(work: Callable[[], object]) -> float:
    """Return the median seconds of a work after one call that warms up."""
    return statistics.median([timed(work) for _ in range(REPEATS + 1)][1:])


def limit_of(size: int) -> Callable[[], object]:
    """Return a copy of size bytes from the GPU to pinned host memory."""
    if keras.backend.backend() == "jax":
        import jax

        source = jax.numpy.zeros(size // 4, "float32")
        to = source.sharding.with_memory_kind("pinned_host")
        return lambda: jax.device_put(source, to).block_until_ready()
    import torch

    gpu, host = torch.zeros(size // 4, device="cuda"), torch.empty(size // 4, pin_memory=True)

    def copy() -> None:
        host.copy_(gpu, non_blocking=True)
        torch.cuda.synchronize()

    return copy


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
