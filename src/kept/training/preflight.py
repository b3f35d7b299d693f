"""Whether what a fit is about to save fits the disk: told at its beginning, once.

It is a forecast, mostly on the large side: tensors that do not change are stored once, and with
save_best_only fewer checkpoints come than could. Saves by the clock are not foreseen. So it warns,
and stops nothing.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

from kept.bucket.local import LocalBucket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.store.keep import Keep
    from kept.store.store import Store
    from kept.training.options import Options

_ALWAYS_KEPT = 2  # by any retention: the newest version, and the newest without NaN


class Preflight:
    """The forecast of one fit, for one callback."""

    def __init__(self, owner: Any, template: str, options: Options) -> None:
        self._owner, self._template, self._options = owner, template, options
        self._done = False

    def check(self, store: Store | None) -> None:
        """Warn if it does not fit; wait for another call if the model is not built yet."""
        owner = self._owner
        optimizer = getattr(owner.model, "optimizer", None)
        if self._done or not owner.model.built or not getattr(optimizer, "built", True):
            return
        self._done = True
        saves = planned_saves(owner.params or {}, owner.save_freq)
        if saves is None:
            return
        size, keep = size_of(owner.model), self._options.keep
        told = list(shortages(self._needs(store, saves, size, bytes_kept(saves, size, keep))))
        if keep is not None and not told:  # what is deleted takes room until a gc
            every = shortages(self._needs(store, saves, size, saves * size))
            told = [f"Unless `kept gc` runs beside the training: {text}" for text in every]
        if told:
            warnings.warn(  # noqa: B028 - Keras calls
                f"{saves} checkpoints of up to {size:,} bytes are to come. {' '.join(told)} "
                "keep=kept.Keep(last=3) with `kept gc` beside it, keep_local=False or a store "
                "elsewhere need less."
            )

    def _needs(self, store: Store | None, saves: int, size: int, versions: int) -> Counter[str]:
        """Return the bytes that are needed in each folder; versions is those of the store."""
        needs: Counter[str] = Counter()
        if store is not None and isinstance(store.bucket, LocalBucket):
            needs[store.bucket.root] += versions
        if self._options.keep_local:
            files = saves if "{" in self._template else 1
            needs[os.path.dirname(self._template.partition("{")[0]) or "."] += files * size
        return needs


def size_of(model: Any) -> int:
    """Return the bytes of a model's weights and of its optimizer's state."""
    optimizer = getattr(model, "optimizer", None)
    return sum(map(_size, (*model.weights, *getattr(optimizer, "variables", ()))))


def planned_saves(params: Mapping[str, Any], save_freq: str | int) -> int | None:
    """Return how many checkpoints a fit can bring at the most, None if nobody knows."""
    epochs, steps = params.get("epochs"), params.get("steps")
    if not epochs or save_freq == "epoch":
        return epochs or None
    return epochs * steps // int(save_freq) if steps else None


def bytes_kept(saves: int, size: int, keep: Keep | None) -> int:
    """Return the bytes of so many versions, as far as a retention keeps them."""
    if keep is None:
        return saves * size
    if keep.period is None and keep.span is None and (keep.last or keep.best):
        saves = min(saves, (keep.last or 0) + (keep.best or 0) + _ALWAYS_KEPT)
    return saves * size if keep.budget is None else min(saves * size, keep.budget)


def shortages(needs: Mapping[str, int]) -> Iterator[str]:
    """Yield what to tell of each file system that has less room than is needed in its folders."""
    by_device: dict[int, list[str]] = {}
    for folder in needs:
        by_device.setdefault(os.stat(_existing(folder)).st_dev, []).append(folder)
    for folders in by_device.values():
        free = shutil.disk_usage(_existing(folders[0])).free
        need = sum(needs[folder] for folder in folders)
        if need > free:
            yield (f"They need up to {need:,} bytes in {' and '.join(folders)}; {free:,} are free.")


def _existing(folder: str) -> str:
    folder = os.path.abspath(folder)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return folder


def _size(variable: Any) -> int:
    name = str(getattr(variable.dtype, "name", variable.dtype))  # tf_keras has TensorFlow's types
    bits = re.search(r"\d+", name)
    return int(math.prod(variable.shape)) * max(int(bits[0]) // 8 if bits else 1, 1)
