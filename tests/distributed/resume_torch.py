"""Script: torch processes that average their gradients, each with a state of its own.

Arguments: what to do, and the folder of the store.
  same     train in one go; train again and stop in the middle; resume; report all three
  restore  resume a version, and report what is restored; a third argument names it
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys

import numpy as np

from tests.distributed.child import RANK, WORLD, join, report

join("torch")

import keras  # noqa: E402
import torch  # noqa: E402

import kept  # noqa: E402

EPOCHS, STOP, SAVE = 3, (1, 3), 2
DATA = os.environ.get("DATA", "loader")


class AveragingSGD(keras.optimizers.SGD):
    def apply(self, grads, trainable_variables=None):
        if WORLD > 1:
            for grad in grads:
                torch.distributed.all_reduce(grad)
            grads = [grad / WORLD for grad in grads]
        return super().apply(grads, trainable_variables)


class Counter(keras.callbacks.Callback):
    """Counts in its own way on each rank."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += RANK + 1

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


class Stop(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == STOP:
            raise KeyboardInterrupt


def model():
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1),
    ]
    made = keras.Sequential(layers)
    made.compile(AveragingSGD(0.05, momentum=0.9), "mse")
    torch.manual_seed(100 + RANK)
    np.random.seed(RANK)
    return made


def data():
    rng = np.random.default_rng(3)
    x, y = (rng.normal(size=(48, n)).astype("float32") for n in (4, 1))
    if DATA == "dataset":
        return kept.Dataset(x, y, batch_size=8, shard=(RANK, WORLD))
    rows = torch.utils.data.TensorDataset(
        torch.tensor(x[RANK::WORLD]), torch.tensor(y[RANK::WORLD])
    )
    generator = torch.Generator().manual_seed(7 + RANK)
    return torch.utils.data.DataLoader(rows, 8 // WORLD, shuffle=True, generator=generator)


def digest(values):
    found = hashlib.sha256()
    for value in values:
        found.update(np.asarray(keras.ops.convert_to_numpy(value)).tobytes())
    return found.hexdigest()[:12]


def checkpoint(name="m", *, resume=False):
    return kept.ModelCheckpoint(
        f"m{RANK}.keras", name=name, store=sys.argv[2], save_freq=SAVE, resume=resume
    )


def train(*callbacks):
    made, counter = model(), Counter()
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(KeyboardInterrupt):
        made.fit(data(), epochs=EPOCHS, verbose=0, shuffle=False, callbacks=[counter, *callbacks])
    return {
        "trained": digest(made.trainable_variables),
        "all": digest([*made.variables, *made.optimizer.variables]),
        "loss": made.history.history.get("loss"),
        "count": counter.count,
        "torch": digest([torch.get_rng_state()]),
        "numpy": digest([np.random.get_state()[1]]),
        "lines": out.getvalue().splitlines(),
    }


class Restored(keras.callbacks.Callback):
    """Keeps digests of what is restored when the epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.weights = epoch, digest(self.model.weights)
        self.optimizer = digest(self.model.optimizer.variables)


os.chdir(os.path.dirname(sys.argv[2]))
if sys.argv[1] == "same":
    report(straight=train(checkpoint("straight")))  # which also sets the epochs of the data
    first = checkpoint()
    train(first, Stop())
    first.wait()
    report(resumed=train(checkpoint(resume=True)))
else:
    EPOCHS = STOP[0] + 1
    restored = Restored()
    report(resumed=train(restored, checkpoint(f"of-{WORLD}", resume=sys.argv[3])))
    report(epoch=restored.epoch, weights=restored.weights, optimizer=restored.optimizer)
