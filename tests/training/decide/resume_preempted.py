"""A training that is told to end.

python resume_preempted.py FOLDER term|twice|int|late|hang|none
"""

import os
import signal
import sys
import time

import keras
import numpy as np

import kept

FOLDER, HOW = sys.argv[1:]
GRACE = {"hang": 1.0}.get(HOW, 20.0)


class Ask(keras.callbacks.Callback):
    """Sends a signal in the middle of the eighth batch."""

    seen = 0

    def on_train_batch_begin(self, batch, logs=None):
        Ask.seen += 1
        if Ask.seen == 8 and HOW in ("term", "twice", "int"):
            if HOW == "twice":
                checkpoint.wait()
            for _ in range(1 + (HOW == "twice")):
                os.kill(os.getpid(), signal.SIGINT if HOW == "int" else signal.SIGTERM)
            time.sleep(0.05)


class Break(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if HOW == "late":
            raise RuntimeError("the fit breaks off")


keras.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.2), keras.layers.Dense(1)])
model.compile("adam", "mse")
checkpoint = kept.ModelCheckpoint(
    f"{FOLDER}/best-{{loss:.2f}}.weights.h5",
    monitor="loss",
    save_weights_only=True,
    save_best_only=True,
    store=f"{FOLDER}/store",
    name="m",
    resume=True,
    grace_seconds=GRACE,
)
try:
    model.fit(
        x, x[:, :1], batch_size=8, epochs=3, verbose=0, callbacks=[checkpoint, Ask(), Break()]
    )
except RuntimeError:
    os.kill(os.getpid(), signal.SIGTERM)
print("weights", [float(np.sum(keras.ops.convert_to_numpy(w))) for w in model.weights])
