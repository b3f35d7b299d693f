"""A frozen base under a small head: what each version after the first adds to the disk."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import keras
import numpy as np

import kept
from benchmarks.contenders import Kept, WandB
from benchmarks.idle import LOGS, begun
from benchmarks.measure import bytes_below, workspace
from benchmarks.models import frozen, samples, values
from benchmarks.rows import Outcome

if TYPE_CHECKING:
    from benchmarks.contenders import Contender

ALLOWANCE = 64 * 1024


def measure(*, quick: bool) -> Outcome:
    """Count bytes, which no other program can disturb."""
    megabytes, versions = (5, 2) if quick else (50, 5)
    outcome = Outcome()
    added, changed, compacted = _added(Kept(), megabytes, versions)
    worst = max(new / (1.1 * due + ALLOWANCE) for new, due in zip(added, changed, strict=True))
    outcome.add("bytes per further version / (1.1 x changed tensors + 64 KiB)", worst, 1, 1)
    outcome.add("bytes per further version / changed tensors", sum(added), sum(changed))
    outcome.add("the same after kept compact / (1.1 x changed tensors + 64 KiB)",
                compacted / sum(1.1 * due + ALLOWANCE for due in changed), 1, 1)  # fmt: skip
    outcome.add("the same after kept compact / as committed", compacted, sum(added), 1)
    file = _keras_file(megabytes)
    outcome.add("a Keras file per version / kept's bytes per further version", file, np.mean(added))
    if keras.backend.backend() == "tensorflow":
        theirs, *_ = _added(WandB(), megabytes, versions)
        outcome.add("W&B's bytes per further version / kept's", np.mean(theirs), np.mean(added))
        outcome.raw["W&B"] = theirs
    outcome.raw |= {"added": added, "compacted": compacted, "changed": changed, "file": file}
    return outcome


def _added(
    contender: Contender, megabytes: float, versions: int
) -> tuple[list[int], list[int], int]:
    """Return the bytes on disk, and of tensors, that each save after the first adds or changes.

    And how many bytes all of them add to kept's store when it is compacted.
    """
    model = frozen(megabytes)
    data = samples(model, 4)
    added, changed = [], []
    first = compacted = 0
    with workspace() as folder:
        callback = begun(contender.callback(folder, "epoch"), model)
        for version in range(versions + 1):
            before, size = values(model), bytes_below(folder)
            model.train_on_batch(*data)
            callback.on_epoch_end(version, LOGS)
            if isinstance(contender, Kept):
                callback.wait()
            if version:
                added.append(bytes_below(folder) - size)
                changed.append(_changed(before, values(model)))
            elif isinstance(contender, Kept):
                first = _compacted(folder)
        callback.on_train_end()
        contender.close()
        if isinstance(contender, Kept):
            compacted = _compacted(folder) - first
    return added, changed, compacted


def _compacted(folder: str) -> int:
    """Return the bytes of a copy of kept's store that is compacted."""
    with workspace() as other:
        copy = shutil.copytree(os.path.join(folder, "store"), os.path.join(other, "store"))
        kept.open_store(copy).compact()
        return bytes_below(copy)


def _changed(before: list[np.ndarray], after: list[np.ndarray]) -> int:
    pairs = zip(before, after, strict=True)
    return sum(new.nbytes for old, new in pairs if not np.array_equal(old, new))


def _keras_file(megabytes: float) -> int:
    with workspace() as folder:
        path = os.path.join(folder, "model.keras")
        frozen(megabytes).save(path)
        return os.path.getsize(path)
