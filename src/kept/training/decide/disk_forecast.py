"""Whether the checkpoints of a fit fit on the disk: a forecast, once at its beginning.

The forecast is mostly too large: tensors that do not change are stored once, and save_best_only
saves less often than it could. How many saves the clock (save_every) brings is known after the
first epoch. So the forecast warns, and stops nothing.
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.store.retention.keep import Keep
    from kept.training.destinations.base import Destination
    from kept.training.options import Options
    from kept.training.save.path_template import PathTemplate

_ALWAYS_KEPT = 2  # any retention keeps the newest version, and the newest one without NaN
_ON_THE_WAY = 2  # files in the outbox if the destination keeps up: one being sent, one waiting


class DiskForecast:
    """The forecast of one fit, for one callback."""

    def __init__(
        self, owner: Any, path: PathTemplate, options: Options, destination: Destination
    ) -> None:
        self._owner, self._path, self._options = owner, path, options
        self._destination = destination
        self.begin()

    def begin(self) -> None:
        """Forget the fit before; for on_train_begin."""
        self._is_checked = self._has_warned = False
        self._every = self._options.seconds_between_saves
        self._began = time.monotonic()
        self._first = 0  # the epoch that the fit begins with

    def check(self, epoch: int) -> None:
        """Warn if the disk is too small; wait for another call if the model is not built yet.

        epoch is the first one of the fit, counted from 0.
        """
        owner = self._owner
        optimizer = getattr(owner.model, "optimizer", None)
        if self._is_checked or not owner.model.built or not getattr(optimizer, "built", True):
            return
        self._is_checked, self._began, self._first = True, time.monotonic(), epoch
        saves = planned_saves(owner.params or {}, owner.save_freq, epoch)
        if saves is not None:
            self._warn_if_short(saves)

    def epoch_over(self) -> None:
        """Check again after the first epoch, with the saves that the clock will bring."""
        every, self._every = self._every, math.inf
        by_clock = int((time.monotonic() - self._began) // every)
        if by_clock and not self._has_warned:
            params = self._owner.params or {}
            saves = planned_saves(params, self._owner.save_freq, self._first) or 0
            epochs = max((params.get("epochs") or 1) - self._first, 1)
            self._warn_if_short(saves + by_clock * epochs)

    def _warn_if_short(self, saves: int) -> None:
        options, size = self._options, size_of(self._owner.model)
        saves += options.grace_seconds is not None  # the one at SIGTERM
        kept = bytes_kept(saves, size, options.keep)
        found = list(shortages(self._needs(saves, size, kept)))
        if options.keep is not None and options.gc is None and not found:
            every = shortages(self._needs(saves, size, saves * size))
            found = [f"Unless `kept gc` runs beside the training: {text}" for text in every]
        if found:
            self._has_warned = True
            warnings.warn(  # noqa: B028 - Keras calls
                f"This fit may write up to {saves} checkpoints of up to {size:,} bytes. "
                f"{' '.join(found)} To need less, use {self._advice()}."
            )

    def _needs(self, saves: int, size: int, versions: int) -> Counter[str]:
        """Return the bytes that each folder needs; versions are the bytes of the store."""
        needs: Counter[str] = Counter()
        store, options = self._destination.store, self._options
        if store is not None and isinstance(store.bucket, LocalBucket):
            needs[store.bucket.root] += versions
        # A path without options is one file, however many saves there are.
        template = self._path.template
        files = files_left(saves if "{" in template else 1, size, options)
        # Files that stay at their paths are links in the outbox; others take room there.
        if self._destination.has_outbox and files < saves * size:
            files += min(saves, _ON_THE_WAY) * size
        if files:
            needs[os.path.dirname(template.partition("{")[0]) or "."] += files
        return needs

    def _advice(self) -> str:
        """Return the options that would help and are not set."""
        options, store = self._options, self._destination.store
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
    """Return the number of checkpoints that a fit can write, or None if it is unknown.

    first is the epoch that the fit begins with; it is not 0 with initial_epoch or after a resume.
    """
    if not params.get("epochs"):
        return None
    epochs, steps = max(int(params["epochs"]) - first, 0), params.get("steps")
    if save_freq == "epoch":
        return epochs
    return epochs * steps // int(save_freq) if steps else None


def bytes_kept(saves: int, size: int, keep: Keep | None) -> int:
    """Return the bytes of the versions that a retention keeps, out of a number of saves."""
    if keep is None:
        return saves * size
    is_bounded = keep.period is None and keep.span is None and keep.monitor is None
    if is_bounded and (keep.last or keep.best):
        saves = min(saves, (keep.last or 0) + (keep.best or 0) + _ALWAYS_KEPT)
    return saves * size if keep.budget is None else min(saves * size, keep.budget)


def files_left(saves: int, size: int, options: Options) -> int:
    """Return the bytes of the files that a number of saves leave at filepath."""
    if not options.leaves_files:
        return 0
    # The next file exists before one is removed.
    return min(bytes_kept(saves, size, options.local_rule) + size, saves * size)


def shortages(needs: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each file system with less room than its folders need."""
    by_device: dict[int, list[str]] = {}
    for folder in needs:
        by_device.setdefault(os.stat(_existing(folder)).st_dev, []).append(folder)
    for folders in by_device.values():
        free = shutil.disk_usage(_existing(folders[0])).free
        need = sum(needs[folder] for folder in folders)
        if need > free:
            yield f"They need up to {need:,} bytes in {' and '.join(folders)}; {free:,} are free."


def _existing(folder: str) -> str:
    folder = os.path.abspath(folder)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return folder


def _size(variable: Any) -> int:
    name = str(getattr(variable.dtype, "name", variable.dtype))  # tf_keras has TensorFlow's types
    bits = re.search(r"\d+", name)
    return int(math.prod(variable.shape)) * max(int(bits[0]) // 8 if bits else 1, 1)
