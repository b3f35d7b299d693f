"""Script: processes on JAX that train on a kept.Dataset; arguments: verb, store and layout.

With the layout "data" they divide its batches; with "model" the weights are sharded across them.

The verb is "train" (and stop within an epoch), or the version to resume; then it reports what was
restored, and where the training ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
from pathlib import Path

from tests.distributed.child import RANK, WORLD, join, report

join("jax")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import multihost_utils  # noqa: E402

import kept  # noqa: E402


def values(variables):
    return [multihost_utils.process_allgather(one.value, tiled=True) for one in variables]


class Watch(keras.callbacks.Callback):
    """Digests what is restored, and stops a fit that trains."""

    restored: str | None = None

    def on_epoch_begin(self, epoch, logs=None):
        model = self.model
        found = values([*model.variables, *model.optimizer.variables])
        digest = hashlib.sha256(b"".join(np.asarray(one).tobytes() for one in found)).hexdigest()
        self.restored = self.restored or digest
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if sys.argv[1] == "train" and (self.epoch, batch) == (1, 2):
            raise KeyboardInterrupt


devices, is_divided = keras.distribution.list_devices(), sys.argv[3] == "data"
if is_divided:
    distribution = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
else:
    mesh = keras.distribution.DeviceMesh((1, WORLD), ["batch", "model"], devices)
    layouts = keras.distribution.LayoutMap(mesh)
    layouts[".*wide/kernel"], layouts[".*wide/bias"] = (None, "model"), ("model",)
    distribution = keras.distribution.ModelParallel(
        layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False
    )
keras.distribution.set_distribution(distribution)
keras.utils.set_random_seed(1)
model = keras.Sequential(
    [keras.Input((4,)), keras.layers.Dense(8, name="wide"), keras.layers.Dense(1)]
)
model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
rng = np.random.default_rng(2)
x, y = (rng.normal(size=(32, n)).astype("float32") for n in (4, 1))
data = kept.Dataset(x, y, batch_size=8, shard=(RANK, WORLD) if is_divided else (0, 1))
folder = Path(sys.argv[2]).parent
name, resume = ("m", False) if sys.argv[1] == "train" else (f"of-{WORLD}", sys.argv[1])
checkpoint = kept.ModelCheckpoint(
    str(folder / f"{RANK}.keras"), name=name, store=sys.argv[2], save_freq=2, resume=resume
)
out, watch = io.StringIO(), Watch()
with contextlib.redirect_stdout(out), contextlib.suppress(KeyboardInterrupt):
    model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[watch, checkpoint])
checkpoint.wait()
report(
    restored=watch.restored,
    end=[np.asarray(one).ravel().tolist() for one in values(model.weights)],
    lines=out.getvalue().splitlines(),
    done=model.history.history,
)
