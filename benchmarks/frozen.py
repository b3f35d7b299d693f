"""A frozen base under a small head: what each version after the first adds to the disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import keras
import numpy as np

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
    added, changed = _added(Kept(), megabytes, versions)
    worst = max(new / (1.1 * due + ALLOWANCE) for new, due in zip(added, changed, strict=True))
    outcome.add("bytes per further version / (1.1 x changed tensors + 64 KiB)", worst, 1, 1)
    outcome.add("bytes per further version / changed tensors", sum(added), sum(changed))
    file = _keras_file(megabytes)
    outcome.add("a Keras file per version / kept's bytes per further version", file, np.mean(added))
    if keras.backend.backend() == "tensorflow":
        theirs, _ = _added(WandB(), megabytes, versions)
        outcome.add("W&B's bytes per further version / kept's", np.mean(theirs), np.mean(added))
        outcome.raw["W&B"] = theirs
    outcome.raw |= {"added": added, "changed": changed, "file": file}
    return outcome


def _added(contender: Contender, megabytes: float, versions: int) -> tuple[list[int], list[int]]:
    """Return the bytes on disk, and of tensors, that each save after the first adds or changes."""
    model = frozen(megabytes)
    data = samples(model, 4)
    added, changed = [], []
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
        callback.on_train_end()
        contender.close()
    return added, changed


def _changed(before: list[np.ndarray], after: list[np.ndarray]) -> int:
    pairs = zip(before, after, strict=True)
    return sum(new.nbytes for old, new in pairs if not np.array_equal(old, new))


def _keras_file(megabytes: float) -> int:
    with workspace() as folder:
        path = os.path.join(folder, "model.keras")
        frozen(megabytes).save(path)
        return os.path.getsize(path)
