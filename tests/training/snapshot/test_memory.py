"""A hundred saves in a row need no more memory than the first few."""

from __future__ import annotations

import gc

import keras
import psutil
import pytest

import kept
from tests.training.helpers import play

MIB = 2**20


def resident():
    gc.collect()
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("path", ["m.weights.h5", "m.keras"])
def test_100_saves(path, store):
    """A snapshot has 4 MiB: had 75 of them, or a quarter of each, been kept, it would show."""
    model = keras.Sequential([keras.Input((1024,)), keras.layers.Dense(1024, use_bias=False)])
    model.add(keras.layers.Dense(1))
    weights = "weights" in path
    callback = kept.ModelCheckpoint(path, save_weights_only=weights, store=store, name="m")
    play([callback], [{}] * 25, model=model)
    before = resident()
    play([callback], [{}] * 75, model=model, start=25)
    assert len(callback.versions) == 100
    assert callback.versions[-1].metadata["snapshot_bytes"] > 4 * MIB
    assert resident() - before < 60 * MIB
