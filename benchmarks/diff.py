"""`version.diff`: what it reads and how long it takes, against loading both files and comparing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

import kept
from benchmarks.measure import in_turns, medians, timed, workspace
from benchmarks.rows import Outcome
from kept.bucket.local import LocalBucket

if TYPE_CHECKING:
    from kept.store.version import Version

SHARE = 0.1  # of the tensors changes


class Counting(LocalBucket):
    """A bucket that counts the bytes of blobs that are read from it."""

    read = 0

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(key, start, length)
        self.read += len(data) if key.startswith("blobs/") else 0
        return data


def measure(*, quick: bool) -> Outcome:
    """Compare two versions that share 90 % of their bytes: of large tensors, and of small ones."""
    outcome = Outcome()
    megabytes = 30 if quick else 300
    for kilobytes in (3000, 300):
        with workspace() as folder:
            _compare(outcome, folder, megabytes, kilobytes, repeats=1 if quick else 2)
    return outcome


def _compare(outcome: Outcome, folder: str, megabytes: int, kilobytes: int, repeats: int) -> None:
    store = kept.open_store(os.path.join(folder, "store"))
    paths = [os.path.join(folder, f"{n}.weights.h5") for n in range(2)]
    count = megabytes * 1000 // kilobytes
    for number, path in enumerate(paths):
        _write(path, count, kilobytes * 250, number)
        store.log_artifact("m", path)
    bucket = Counting(store.location)
    one, other = (kept.Store(bucket)[f"m:v{n}"] for n in range(2))
    changed = len(one.diff(other).tensors)
    assert changed == -(-count // int(1 / SHARE)), changed
    what = f"{megabytes} MB in tensors of {kilobytes} kB, 90 % shared: "
    outcome.add(what + "bytes read / bytes of both", bucket.read, one.size + other.size, 0.15)

    def diff() -> float:
        return timed(lambda: store["m:v0"].diff("m:v1"))

    works = {"diff": diff, "load both": lambda: timed(lambda: _load_and_compare(paths))}
    works["download, load both"] = lambda: timed(lambda: _fetched(folder, one, other, paths))
    found = medians(in_turns(works, repeats, lambda: None))
    outcome.add(what + "time / h5py loading both files", found["diff"], found["load both"], 1.0)
    whole = found["download, load both"]
    outcome.add(what + "time / the same after a download", found["diff"], whole, 1.0)
    outcome.seconds |= {f"{kilobytes} kB: {name}": taken for name, taken in found.items()}


def _write(path: str, count: int, elements: int, number: int) -> None:
    """Write a file of weights; every tenth tensor differs in the second one."""
    import h5py

    with h5py.File(path, "w") as file:
        for each in range(count):
            value = np.random.default_rng(each).normal(0, 0.02, elements)
            value += 1e-4 * (number if each % int(1 / SHARE) == 0 else 0)
            file.create_dataset(f"layers/dense_{each}/vars/0", data=value.astype("f4"))


def _load_and_compare(paths: list[str]) -> list[Any]:
    """Do what a script does without kept: load every tensor of both, and compare it."""
    import h5py

    found = []
    with h5py.File(paths[0]) as one, h5py.File(paths[1]) as other:
        for name in one["layers"]:
            a, b = (file[f"layers/{name}/vars/0"][:].astype("f8") for file in (one, other))
            change = np.linalg.norm(b - a) / np.linalg.norm(a)
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            found.append((name, change, cosine, np.mean(a != b)))
    return found


def _fetched(folder: str, one: Version, other: Version, paths: list[str]) -> None:
    for number, version in enumerate((one, other)):
        version.download(os.path.join(folder, f"out{number}"))
    _load_and_compare([f"{folder}/out{n}/{os.path.basename(p)}" for n, p in enumerate(paths)])
