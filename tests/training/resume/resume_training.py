"""Two trainings one after the other, as a user would write them; run as a process of its own.

    python resume_training.py FOLDER [BATCHES]

With BATCHES the process kills itself with SIGKILL once it has trained on that many batches.
Without, it trains to the end and prints what came out as JSON.
"""

import hashlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import keras
import numpy as np

import kept

EPOCHS = 6


class KillAfter(keras.callbacks.Callback):
    """Kills the process at the end of a batch, but never before anything was saved at all."""

    left = None

    def __init__(self, checkpoint):
        super().__init__()
        self.checkpoint = checkpoint

    def on_train_batch_end(self, batch, logs=None):
        if KillAfter.left is not None:
            KillAfter.left -= 1
            if KillAfter.left <= 0:
                if not self.checkpoint.store.artifacts():
                    self.checkpoint.wait()
                os.kill(os.getpid(), signal.SIGKILL)


class Meter(keras.callbacks.Callback):
    """A callback of the user's own, with a state and with randomness."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([batch, logs.get("loss"), random.random(), float(np.random.rand())])

    def get_state(self):
        return {"seen": self.seen}

    def set_state(self, state):
        self.seen = state["seen"]


def make_data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(44, 6)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) > 0).astype("float32")


def make_model(learning_rate):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


def train(name, folder, model, data, before, after, **options):
    meter = Meter()
    checkpoint = kept.ModelCheckpoint(
        folder / f"{name}.keras", store=folder / "store", name=name, resume=True, **options
    )
    csv = keras.callbacks.CSVLogger(folder / f"{name}.csv")
    callbacks = [*before, csv, checkpoint, meter, *after, KillAfter(checkpoint)]
    x, y = make_data()
    options = {"x": x, "y": y, "batch_size": 8} if data is None else {"x": data}
    history = model.fit(
        **options, validation_data=(x, y), epochs=EPOCHS, callbacks=callbacks, verbose=0
    )
    [early] = [c for c in callbacks if isinstance(c, keras.callbacks.EarlyStopping)]
    return {
        "weights": [digest(w) for w in model.weights],
        "optimizer": {v.path.split("/")[-1] + str(n): digest(v)
                      for n, v in enumerate(model.optimizer.variables)},
        "seeds": [digest(v) for v in model.variables if "seed" in v.path],
        "history": history.history,
        "epochs": history.epoch,
        "stopping": [early.stopped_epoch, early.wait, early.best, early.best_epoch],
        "best": [digest(w) for w in early.best_weights or []],
        "meter": meter.seen,
        "csv": (folder / f"{name}.csv").read_text(),
        "random": [random.random(), float(np.random.rand())],
    }  # fmt: skip


def digest(value):
    array = np.asarray(keras.ops.convert_to_numpy(value))
    return hashlib.sha256(array.tobytes()).hexdigest()[:12]


def in_the_middle(folder):
    """Saves in the middle of epochs, shuffled arrays, callbacks that change the learning rate."""
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=0.05)
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=4, restore_best_weights=True)
    return train(
        "middle", folder, make_model(0.05), None, [scheduler], [plateau, stopping],
        monitor="loss", save_freq=3,
    )  # fmt: skip


def at_the_end(folder):
    """Saves after epochs, kept's own data, a learning-rate schedule, a run that stops early."""
    schedule = keras.optimizers.schedules.ExponentialDecay(0.05, 4, 0.8)
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=0.03)
    data = kept.Dataset(*make_data(), batch_size=8, seed=3)
    return train("end", folder, make_model(schedule), data, [stopping], [])


def main(folder, batches=None):
    KillAfter.left = batches and int(batches)
    keras.utils.set_random_seed(7)
    folder = Path(folder)
    print(json.dumps({"middle": in_the_middle(folder), "end": at_the_end(folder)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
