"""Saving while nothing else runs: the floors, from save to durable version, and committing."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

import keras

import kept
from benchmarks.contenders import Kept
from benchmarks.measure import (
    Times,
    WarmCopy,
    in_turns,
    medians,
    sync,
    timed,
    timing,
    workspace,
    write_and_sync,
)
from benchmarks.models import dense, samples, values
from benchmarks.rows import Outcome
from kept.store.store import Store
from kept.training.save import write_checkpoint

LOGS = {"loss": 1.0}


def measure(*, quick: bool) -> Outcome:
    """Compare with Keras's own save and with writing the same bytes to one file."""
    model = dense(30 if quick else 300)
    with workspace() as folder:
        times, parts = _times(model, folder, repeats=2 if quick else 7)
    found = medians(times)
    outcome = Outcome(seconds=found | medians(parts), raw=times | parts)
    keras_saved = found["Keras: save and fsync"]
    outcome.add("stall / warm copy, idle", found["kept: stall"], found["warm copy"])
    what = "save to durable version / Keras save + fsync"
    outcome.add(what, found["kept: save to durable version"], keras_saved, 1.3)
    what = "save to durable version and file / Keras save + fsync"
    outcome.add(what, found["kept: save to version and file"], keras_saved)
    floor = found["write and fsync"]
    outcome.add("commit of a .keras file / write + fsync of one file", found["commit"], floor, 1.5)
    return outcome


def _times(model: keras.Model, folder: str, repeats: int) -> tuple[Times, Times]:
    data = samples(model, 1)
    parts: Times = {"kept: Keras file": [], "kept: commit": [], "kept: publish": []}
    callback = begun(Kept().callback(folder, "epoch"), model)
    store = kept.open_store(os.path.join(folder, "other"))
    saved = os.path.join(folder, "keras.keras")
    ours: Times = {"kept: stall": [], "kept: save to durable version": []}

    def save_with_keras() -> float:
        return timed(lambda: (model.save(saved), sync(saved), sync(folder)))

    def commit() -> float:
        model.save(saved)  # not in the time
        os.sync()
        return timed(lambda: store.log_artifact("other", saved))

    def write() -> float:
        path = os.path.join(folder, "plain")
        seconds = timed(lambda: write_and_sync(path, content))
        os.unlink(path)
        return seconds

    def before() -> None:
        model.train_on_batch(*data)  # every tensor changes
        os.sync()

    works = {
        "warm copy": lambda: timed(copy),
        "kept: save to version and file": lambda: _save(callback, parts, ours),
        "Keras: save and fsync": save_with_keras,
        "commit": commit,
        "write and fsync": write,
    }
    copy = WarmCopy(values(model))
    model.save(saved)
    with open(saved, "rb") as file:
        content = file.read()
    times = in_turns(works, repeats, before)
    callback.close()
    shutil.rmtree(folder, ignore_errors=True)
    ours, parts = ({name: taken[1:] for name, taken in found.items()} for found in (ours, parts))
    return times | ours, parts


def _save(callback: Any, parts: Times, ours: Times) -> float:
    """Save once with kept, note the times of its parts, and return that of the whole."""
    committed: list[float] = []
    with (
        timing(write_checkpoint, "write_snapshot", parts["kept: Keras file"]),
        timing(Store, "log_artifact", parts["kept: commit"], committed),
        timing(write_checkpoint, "publish", parts["kept: publish"]),
    ):
        start = time.perf_counter()
        ours["kept: stall"].append(timed(lambda: callback.on_epoch_end(0, LOGS)))
        callback.wait()
        ours["kept: save to durable version"].append(committed[0] - start)
        return time.perf_counter() - start


def begun(callback: Any, model: keras.Model) -> Any:
    """Return the callback as it is after the first batch of a fit."""
    hooks = keras.callbacks.CallbackList([callback], add_history=True, model=model, epochs=1)
    hooks.on_train_begin()
    hooks.on_epoch_begin(0)
    hooks.on_train_batch_begin(0)
    hooks.on_train_batch_end(0, LOGS)
    if isinstance(callback, kept.ModelCheckpoint):
        callback.wait()
    return callback
