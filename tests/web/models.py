"""A store with a real model, for tests of pages: fits of Keras on JAX, and a run that resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import kept

if TYPE_CHECKING:
    from pathlib import Path


def fitted_store(root: Path) -> kept.Store:
    """digits:v0 to v2 are epochs of a fit, v0 is deleted; fine:v0 continues from digits:v1."""
    import keras

    location = str(root / "store")
    store = kept.open_store(location)
    store.log_artifact("data", kept.MemoryFile("train.csv", [b"1,2\n"]), type="dataset")
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(1).random((64, 8), np.float32)
    y = (x[:, 0] > 0.5).astype("int32")
    digits = kept.ModelCheckpoint(
        str(root / "model.keras"), name="digits", store=location, uses=["data:v0"], monitor="loss"
    )
    _model().fit(x, y, epochs=3, verbose=0, callbacks=[digits])
    fine = kept.ModelCheckpoint(
        str(root / "fine.keras"), name="fine", store=location, resume="digits:v1", monitor="loss"
    )
    _model().fit(x, y, epochs=3, verbose=0, callbacks=[fine])
    store.delete("digits:v0")
    store["digits:v1"].log_metrics({"test_acc": 0.91}, dataset="night", evaluation="nightly")
    store["digits:v1"].update(note="Looks good", tags=["candidate"], description="The first good")
    store.protect("prod")
    store.promote("digits:v1", "prod", message="beats the baseline")
    return store


def _model():
    import keras

    layers = [
        keras.Input((8,), name="input"),
        keras.layers.Dense(16, activation="relu", name="encoder"),
        keras.layers.Dense(2, name="head"),
    ]
    model = keras.Sequential(layers)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model
