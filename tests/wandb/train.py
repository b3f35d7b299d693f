"""A training run that logs to W&B, as a process of its own: started, and killed, by tests.

Arguments: the number of epochs, and what becomes of the end: "", "finish" (wandb.finish right
after fit), "raise" (fit ends with an error in the last epoch).
"""

from __future__ import annotations

import sys

import keras
import numpy as np
import wandb

import kept

epochs, end = int(sys.argv[1]), sys.argv[2]


class Raise(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if end == "raise" and epoch == epochs - 1:
            raise RuntimeError("the error of the training itself")


wandb.init(project="p")
keras.utils.set_random_seed(1)
x, y = np.random.rand(64, 8), np.random.rand(64, 1)
model = keras.Sequential([keras.layers.Dense(256, activation="relu"), keras.layers.Dense(1)])
model.compile("adam", "mse")
checkpoint = kept.WandbModelCheckpoint("model-{epoch:02d}.keras", monitor="loss", verbose=1)
model.fit(x, y, epochs=epochs, verbose=0, callbacks=[checkpoint, Raise()])
print("fit is over", flush=True)
if end == "finish":
    wandb.finish()
