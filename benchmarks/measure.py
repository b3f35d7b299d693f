"""Measuring: turns, medians, the time that a callback takes, and the floors of this machine."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import keras

HOOKS = ("on_train_begin", "on_train_batch_end", "on_epoch_end", "on_train_end")
Times = dict[str, list[float]]


def timed(work: Callable[[], Any]) -> float:
    """Return how many seconds the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(
    works: Mapping[str, Callable[[], float]], repeats: int, before: Callable[[], None]
) -> Times:
    """Call every work in turn, repeats times, each after before; a first round is thrown away.

    A work returns its own seconds. In turns, so that a machine that slows down slows all alike,
    and in a new order each time, so that none has always the same one before it.
    """
    taken: Times = {name: [] for name in works}
    chance = random.Random(0)
    for _ in range(repeats + 1):
        for name in chance.sample(list(works), len(works)):
            before()
            taken[name].append(works[name]())
    return {name: seconds[1:] for name, seconds in taken.items()}


def medians(times: Times) -> dict[str, float]:
    """Return the median of each list that is not empty."""
    return {name: statistics.median(values) for name, values in times.items() if values}


def time_hooks(callback: keras.callbacks.Callback) -> Times:
    """Have the callback note how long each call of its hooks takes the training thread."""
    times: Times = {hook: [] for hook in HOOKS}
    for hook in HOOKS:
        setattr(callback, hook, _noting(getattr(callback, hook), times[hook]))
    return times


def _noting(call: Callable[..., Any], times: list[float]) -> Callable[..., None]:
    def hook(*args: Any, **kwargs: Any) -> None:
        start = time.perf_counter()
        call(*args, **kwargs)
        times.append(time.perf_counter() - start)

    return hook


@contextmanager
def timing(
    owner: Any, name: str, times: list[float], ends: list[float] | None = None
) -> Iterator[None]:
    """Note how long each call of a function takes, and when it ends, for a look inside."""
    original = getattr(owner, name)

    def noting(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            end = time.perf_counter()
            times.append(end - start)
            if ends is not None:
                ends.append(end)

    setattr(owner, name, noting)
    try:
        yield
    finally:
        setattr(owner, name, original)


class WarmCopy:
    """The floor of a stall: copying as many bytes, tensor by tensor, into memory in use."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self._source = [np.array(array) for array in arrays]
        self._target = [array.copy() for array in self._source]

    @property
    def size(self) -> int:
        """Bytes of one copy."""
        return sum(array.nbytes for array in self._source)

    def __call__(self) -> None:
        """Copy."""
        for source, target in zip(self._source, self._target, strict=True):
            np.copyto(target, source)


def write_and_sync(path: str, data: bytes) -> None:
    """The floor of durability: write the bytes to a new file, and fsync it and its folder."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    sync(os.path.dirname(path))


def sync(path: str) -> None:
    """Fsync a file or a folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def bytes_below(folder: str) -> int:
    """Return the bytes of all files below a folder."""
    return sum(
        os.path.getsize(os.path.join(path, name))
        for path, _, names in os.walk(folder)
        for name in names
    )


@contextmanager
def workspace() -> Iterator[str]:
    """Yield a new folder; at the end it is gone, and the disk has nothing left to write."""
    os.sync()
    folder = tempfile.mkdtemp(prefix="kept-bench-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.sync()
