"""Bytes on the disk for versions of one training run: real images, Adam, every epoch a version."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import keras
import zstandard

import kept
from benchmarks.measure import timed, workspace
from benchmarks.rows import Outcome

if TYPE_CHECKING:
    import numpy as np


def measure(*, quick: bool) -> Outcome:
    """Count bytes, which no other program can disturb; compacted as `kept compact` does."""
    outcome = Outcome()
    with workspace() as folder:
        store, raw, packed = _trained(folder, versions=3 if quick else 20)
        committed = store.usage().stored
        seconds = timed(store.compact)
        stored = store.usage().stored
        assert store.verify().ok
    outcome.add("Adam, fp32: kept, compacted / whole files", stored, raw, 0.75)
    outcome.add("Adam, fp32: kept, as committed / whole files", committed, raw)
    outcome.add("Adam, fp32: files compressed with zstd / whole files", packed, raw)
    outcome.seconds["compacting"] = seconds
    outcome.raw |= {"raw": raw, "committed": committed, "compacted": stored, "zstd": packed}
    return outcome


def _trained(folder: str, versions: int) -> tuple[kept.Store, int, int]:
    """Return the store, the bytes of all files, and of all files compressed."""
    x, y = _digits()
    model = _model()
    store, raw, packed = kept.open_store(os.path.join(folder, "store")), 0, 0
    for _ in range(versions):
        model.fit(x, y, batch_size=64, epochs=1, verbose=0)
        path = os.path.join(folder, "model.keras")
        model.save(path)
        store.log_artifact("digits", path)
        with open(path, "rb") as file:
            data = file.read()
        raw += len(data)
        packed += len(zstandard.ZstdCompressor(level=3).compress(data))
    return store, raw, packed


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype("float32").reshape(-1, 8, 8, 1), y


def _model() -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    return model
