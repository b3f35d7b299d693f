"""Script: tf_keras with a MultiWorkerMirroredStrategy; argument: a folder.

The model has BatchNormalization, whose moving averages only all workers together can read.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

import kept
from kept import tf_keras as of_kept
from kept.training.group.read_together import read_together, reading_needs_all
from tests.distributed.child import RANK, join, leave, report

FILES = {"whole": "m.keras", "old": "m.h5", "weights": "m.weights.h5", "tf": "cp", "saved": "m"}


def build():
    tf_keras.utils.set_random_seed(1)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [layers.Input((8,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(4)]
    )
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(128, 8)).astype("float32"), rng.integers(0, 4, 128)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(32).with_options(options)


def weights(name):
    return name in ("weights", "tf")


def digest(values):
    return hashlib.sha256(b"".join(np.asarray(one).tobytes() for one in values)).hexdigest()


def main(folder: Path) -> None:
    strategy = join("tf_keras")
    with strategy.scope():
        model = build()
    report(
        averages=reading_needs_all(model.variables),
        others=reading_needs_all([*model.trainable_variables, *model.optimizer.variables]),
        alone=reading_needs_all(build().variables),
    )
    own = folder / str(RANK)
    callbacks = [
        of_kept.ModelCheckpoint(
            str(own / name / file),
            monitor="loss",
            name=name,
            store=str(folder / "store"),
            save_freq=3 if name == "whole" else "epoch",
            save_weights_only=weights(name),
        )
        for name, file in FILES.items()
    ]
    model.fit(data(), epochs=3, verbose=0, callbacks=callbacks)
    report(
        read=[one.name for one, _ in read_together(model)],
        trained=digest(model.variables),  # of which all workers read some
        committed={one.name: len(one.versions) for one in callbacks},
        files=[path.name for path in own.rglob("*") if path.is_file()],
    )
    if RANK == 0:
        report(versions=versions(folder), loaded=loaded(folder))
    leave()


def versions(folder: Path) -> dict[str, list[object]]:
    store = kept.open_store(str(folder / "store"))
    return {
        name: [[one.metadata["epoch"], one.metadata["batch"]] for one in store.versions(name)]
        for name in FILES
    }


def loaded(folder: Path) -> dict[str, str]:
    """Load the last version of each format without a strategy, and digest its weights."""
    found = {}
    for name, file in FILES.items():
        version = kept.open_store(str(folder / "store")).version(f"{name}:latest")
        place = Path(version.download(str(folder / "got" / name)))
        if weights(name):
            model = build()
            status = model.load_weights(str(place / file))
            if status is not None:
                status.expect_partial()
        else:
            model = tf_keras.models.load_model(str(place if name == "saved" else place / file))
        found[name] = digest(model.variables)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
