"""A training run that logs to W&B, as a process of its own: started, and killed, by tests.

Arguments: the number of epochs; what becomes of the end: "", "finish" (wandb.finish right after
fit), "raise" (fit ends with an error in the last epoch), "term" (SIGTERM in the second batch of the
last epoch); and the Keras: "keras" or "tf_keras".
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

import numpy as np
import wandb

epochs, end = int(sys.argv[1]), sys.argv[2]
wandb.init(project="p")  # before what is slow to import: a test may wait for it
keras = importlib.import_module(sys.argv[3])
import kept  # noqa: E402 - which Keras it works with is settled by what was imported

print("the run is there", flush=True)


class End(keras.callbacks.Callback):
    epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if end == "term" and (self.epoch, batch) == (epochs - 1, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    def on_epoch_end(self, epoch, logs=None):
        if end == "raise" and epoch == epochs - 1:
            raise RuntimeError("the error of the training itself")


keras.utils.set_random_seed(1)
x = np.random.rand(64, 8)
y = x.mean(axis=1, keepdims=True)
layers = [keras.layers.Dense(256, activation="relu"), keras.layers.Dense(1)]
model = keras.Sequential([keras.Input((8,)), *layers])
model.compile("sgd", "mse")  # whose loss falls in every epoch
checkpoint = kept.WandbModelCheckpoint("model-{epoch:02d}.keras", monitor="loss", verbose=1)
assert isinstance(checkpoint, keras.callbacks.ModelCheckpoint)
model.fit(x, y, epochs=epochs, batch_size=16, verbose=0, callbacks=[checkpoint, End()])
print("fit is over", flush=True)
if end == "finish":
    wandb.finish()
