"""Whether what a fit is about to save fits the disk: told at its beginning, once.

It is a forecast, mostly on the large side: tensors that do not change are stored once, and with
save_best_only fewer checkpoints come than could. How many the clock (save_every) brings is known
when an epoch has passed. So it warns, and stops nothing.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

from kept.bucket.local import LocalBucket
from kept.training.decide.timer import SaveTimer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.store.retention.keep import Keep
    from kept.training.destinations.base import Destination
    from kept.training.options import Options

_ALWAYS_KEPT = 2  # by any retention: the newest version, and the newest without NaN
_ON_THE_WAY = 2  # files in the outbox as long as the destination keeps up: sent, and to be sent


class DiskForecast:
    """The forecast of one fit, for one callback."""

    def __init__(self, owner: Any, template: str, options: Options) -> None:
        self._owner, self._template, self._options = owner, template, options
        self._is_checked = self._has_warned = False
        self._every = SaveTimer(options.save_every).seconds
        self._began = time.monotonic()
        self._first = 0  # the epoch that the fit begins with

    def check(self, destination: Destination, epoch: int) -> None:
        """Warn if it does not fit; wait for another call if the model is not built yet.

        epoch is the first one of the fit, counted from 0.
        """
        owner = self._owner
        optimizer = getattr(owner.model, "optimizer", None)
        if self._is_checked or not owner.model.built or not getattr(optimizer, "built", True):
            return
        self._is_checked, self._began, self._first = True, time.monotonic(), epoch
        saves = planned_saves(owner.params or {}, owner.save_freq, epoch)
        if saves is not None:
            self._foresee(destination, saves)

    def epoch_over(self, destination: Destination) -> None:
        """After the first epoch, do it again with what the clock is going to bring."""
        every, self._every = self._every, math.inf
        by_clock = int((time.monotonic() - self._began) // every)
        if by_clock and not self._has_warned:
            params = self._owner.params or {}
            saves = planned_saves(params, self._owner.save_freq, self._first) or 0
            epochs = max((params.get("epochs") or 1) - self._first, 1)
            self._foresee(destination, saves + by_clock * epochs)

    def _foresee(self, destination: Destination, saves: int) -> None:
        options, size = self._options, size_of(self._owner.model)
        saves += options.grace_seconds is not None  # the one at SIGTERM
        told = list(
            shortages(self._needs(destination, saves, size, bytes_kept(saves, size, options.keep)))
        )
        if options.keep is not None and options.gc is None and not told:
            every = shortages(self._needs(destination, saves, size, saves * size))
            told = [f"Unless `kept gc` runs beside the training: {text}" for text in every]
        if told:
            self._has_warned = True
            warnings.warn(  # noqa: B028 - Keras calls
                f"Up to {saves} checkpoints of up to {size:,} bytes are to come. {' '.join(told)} "
                f"Less is needed with {self._advice(destination)}."
            )

    def _needs(
        self, destination: Destination, saves: int, size: int, versions: int
    ) -> Counter[str]:
        """Return the bytes that are needed in each folder; versions is those of the store."""
        needs: Counter[str] = Counter()
        store, options = destination.store, self._options
        if store is not None and isinstance(store.bucket, LocalBucket):
            needs[store.bucket.root] += versions
        # A path without options is one file, however many saves there are.
        files = files_left(saves if "{" in self._template else 1, size, options)
        if destination.takes_files and files < saves * size:  # others are links in the outbox
            files += min(saves, _ON_THE_WAY) * size
        if files:
            needs[os.path.dirname(self._template.partition("{")[0]) or "."] += files
        return needs

    def _advice(self, destination: Destination) -> str:
        """Return what would help of what is not done already."""
        options, store = self._options, destination.store
        is_local = store is not None and isinstance(store.bucket, LocalBucket)
        advice = {
            "keep=kept.Keep(last=3)": is_local and options.keep is None,
            'gc="1h"': is_local and options.keep is not None and options.gc is None,
            "keep_local=False": options.leaves_files and store is not None,
            "a store elsewhere": is_local,
            "fewer saves": True,
        }
        *most, last = [text for text, helps in advice.items() if helps]
        return f"{', '.join(most)} or {last}" if most else last


def size_of(model: Any) -> int:
    """Return the bytes of a model's weights and of its optimizer's state."""
    held = getattr(getattr(model, "optimizer", None), "variables", ())
    return sum(map(_size, (*model.weights, *(held() if callable(held) else held))))


def planned_saves(params: Mapping[str, Any], save_freq: str | int, first: int = 0) -> int | None:
    """Return how many checkpoints a fit can bring at the most, None if nobody knows.

    first is the epoch that it begins with: not 0 with initial_epoch, and in a run that goes on.
    """
    if not params.get("epochs"):
        return None
    epochs, steps = max(int(params["epochs"]) - first, 0), params.get("steps")
    if save_freq == "epoch":
        return epochs
    return epochs * steps // int(save_freq) if steps else None


def bytes_kept(saves: int, size: int, keep: Keep | None) -> int:
    """Return the bytes of so many versions, as far as a retention keeps them."""
    if keep is None:
        return saves * size
    if keep.period is None and keep.span is None and (keep.last or keep.best):
        saves = min(saves, (keep.last or 0) + (keep.best or 0) + _ALWAYS_KEPT)
    return saves * size if keep.budget is None else min(saves * size, keep.budget)


def files_left(saves: int, size: int, options: Options) -> int:
    """Return the bytes of the files that so many saves leave at the paths that they are given."""
    if not options.leaves_files:
        return 0
    # Before one goes, the next one is there.
    return min(bytes_kept(saves, size, options.local_rule) + size, saves * size)


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
