"""Coded blobs: how fast versions come back, and what storing them so costs a training."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np

import kept
from benchmarks.contenders import Contender
from benchmarks.measure import in_turns, medians, timed, workspace
from benchmarks.models import BATCH, dense, samples
from benchmarks.rows import Outcome
from benchmarks.training import Clock
from kept.bucket.local import LocalBucket
from kept.store.blobs.blob import RAW, read_head
from kept.store.compact.compactor import Compactor
from kept.store.content.packing import PACK_BELOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

SPEED = 300e6  # bytes a second, of one core


def measure(*, quick: bool) -> Outcome:
    """Restore raw and coded versions in turns with plain copies; train beside the compactor."""
    outcome = Outcome()
    with workspace() as folder:
        _restore(outcome, folder, megabytes=16 if quick else 128, repeats=2 if quick else 5)
    with workspace() as folder:
        _beside(outcome, folder, megabytes=20 if quick else 100, steps=10 if quick else 300)
    return outcome


def _restore(outcome: Outcome, folder: str, megabytes: int, repeats: int) -> None:
    path = os.path.join(folder, "model.weights.h5")
    raw = kept.open_store(os.path.join(folder, "raw"))
    coded = kept.open_store(os.path.join(folder, "coded"))
    for _ in _steps(path, megabytes, versions=8):
        raw.log_artifact("m", path)
        coded.log_artifact("m", path)
    coded.compact()
    size = os.path.getsize(path)

    def download(store: kept.Store, index: int) -> float:
        target = os.path.join(folder, "out")
        shutil.rmtree(target, ignore_errors=True)
        version = store[f"m:v{index}"]
        return timed(lambda: version.download(target))

    def copy() -> float:
        target = os.path.join(folder, "copy")
        if os.path.exists(target):
            os.unlink(target)
        return timed(lambda: shutil.copyfile(path, target))

    works = {"copy": copy, "raw": lambda: download(raw, 7)}
    works |= {f"coded v{n}": lambda n=n: download(coded, n) for n in range(8)}
    cpu: list[float] = []
    found = medians(in_turns(works, repeats, os.sync))
    slowest = max((name for name in found if name.startswith("coded")), key=lambda n: found[n])
    for _ in range(repeats):
        before = _cpu()
        download(coded, int(slowest[-1]))
        cpu.append(_cpu() - before)
    outcome.add("raw: speed of a restore / of a plain file copy", found["copy"], found["raw"], 0.5,
                least=True)  # fmt: skip
    per_core = size / statistics.median(cpu)
    outcome.add("coded: restored per core and second, the slowest of 8 versions / 300 MB",
                per_core, SPEED, 1, least=True)  # fmt: skip
    outcome.seconds |= {f"{name}: {size / 1e6:.0f} MB": taken for name, taken in found.items()}
    outcome.raw |= {"size": size, "cpu of the slowest": cpu}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _steps(path: str, megabytes: int, versions: int) -> Iterator[None]:
    """Write a file of tensors again and again; each moves a little as weights in training do."""
    import h5py

    chance = np.random.default_rng(0)
    now = [chance.normal(0, 0.02, 2_000_000) for _ in range(megabytes // 8)]
    for _ in range(versions):
        with h5py.File(path, "w") as file:
            for number, tensor in enumerate(now):
                file.create_dataset(f"layers/{number}/0", data=tensor.astype("f4"))
        yield
        now = [tensor + chance.normal(0, 1e-5, len(tensor)) for tensor in now]


def _beside(outcome: Outcome, folder: str, megabytes: int, steps: int) -> None:
    """Train alone, beside the process that recodes, and beside a thread that does, in turns."""
    model = dense(megabytes)
    path = os.path.join(folder, "model.weights.h5")
    store = kept.open_store(os.path.join(folder, "store"))
    for _ in _steps(path, min(megabytes, 64), versions=5):
        store.log_artifact("m", path)
    _rate(model, 3)
    rates: dict[str, list[float]] = {"alone": [], "process": [], "thread": []}
    done: dict[str, list[float]] = {"process": [], "thread": []}
    for turn in range(3):
        for name in sorted(rates, reverse=bool(turn % 2)):
            copy = shutil.copytree(store.location, f"{folder}/{name}{turn}")
            with _WORKS[name](copy):
                rates[name].append(_rate(model, steps))
            if name in done:
                done[name].append(_coded(copy))
            shutil.rmtree(copy)
    found = {name: statistics.median(each) for name, each in rates.items()}
    outcome.add("steps/s beside the process that recodes / alone", found["process"],
                found["alone"], 0.9, least=True)  # fmt: skip
    outcome.add("steps/s beside a thread that recodes / alone", found["thread"], found["alone"])
    for name, each in done.items():
        what = f"versions that the {name} coded meanwhile / all"
        outcome.add(what, statistics.median(each), 1)
    outcome.raw["steps/s"] = rates


def _rate(model: keras.Model, steps: int) -> float:
    """Return steps per second."""
    clock = Clock(Contender())
    x, y = (array.repeat(steps, axis=0) for array in samples(model, 1))
    model.fit(x, y, BATCH, 1, verbose=0, shuffle=False, callbacks=[clock])
    return len(clock.steps) / sum(seconds for seconds, *_ in clock.steps)


def _coded(location: str) -> float:
    """Return which part of the blobs of some size is coded."""
    bucket = LocalBucket(location)
    heads = [read_head(bucket, key.rpartition("/")[2]) for key in bucket.keys("blobs/")]
    large = [head.codec != RAW for head in heads if head and head.raw_size > PACK_BELOW]
    return sum(large) / len(large)


@contextlib.contextmanager
def _alone(_: str) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _process(location: str) -> Iterator[None]:
    command = [sys.executable, "-m", "kept.store.compact.worker", location, "m", str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        yield
        process.communicate()


@contextlib.contextmanager
def _thread(location: str) -> Iterator[None]:
    """A thread of the lowest priority, which stops at its next step."""
    over = threading.Event()

    def work() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        store = kept.open_store(location)
        entries = [version.record for version in store.versions("m")]
        for _ in Compactor(store.bucket).steps("m", entries):
            if over.is_set():
                return

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()


_WORKS = {"alone": _alone, "process": _process, "thread": _thread}
