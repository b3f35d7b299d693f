"""Script: fits on JAX, in processes that train one model.

Arguments: the layout, a folder for files, and the folder or the bucket of the stores.

The layout is "data" (each process has a part of each batch) or "model" (weights are sharded across
the processes). One fit is not interrupted; another one is, and a third one resumes it.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from tests.distributed.child import RANK, WORLD, join, report

join("jax")
import jax  # noqa: E402 - join chooses the framework
import keras  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import multihost_utils  # noqa: E402

import kept  # noqa: E402

BATCH = 32


class Batches(keras.utils.PyDataset):
    """The same batches on all processes, or a part of each one on each process."""

    def __init__(self, *, is_divided: bool) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self._x = rng.normal(size=(128, 16)).astype("float32")
        self._y = self._x[:, :4].argmax(1)
        self._is_divided, self._epoch = is_divided, 0

    def __len__(self) -> int:
        return len(self._x) // BATCH

    def __getitem__(self, index):
        order = np.random.default_rng(self._epoch).permutation(len(self._x))
        rows = order[index * BATCH : (index + 1) * BATCH]
        if self._is_divided:
            rows = np.split(rows, WORLD)[RANK]
        return self._x[rows], self._y[rows]

    def on_epoch_end(self) -> None:
        self._epoch += 1

    def get_state(self):
        return {"epoch": self._epoch}

    def set_state(self, state) -> None:
        self._epoch = state["epoch"]


class Interrupt(keras.callbacks.Callback):
    """Ends a fit in its third epoch, as Ctrl-C on all processes does."""

    def __init__(self) -> None:
        super().__init__()
        self._batches = 0

    def on_train_batch_end(self, batch, logs=None) -> None:
        self._batches += 1
        if self._batches == 10:
            raise KeyboardInterrupt


def distribute(layout: str) -> None:
    devices = keras.distribution.list_devices()
    if layout == "data":
        distribution = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    else:
        mesh = keras.distribution.DeviceMesh((1, WORLD), ["batch", "model"], devices)
        layouts = keras.distribution.LayoutMap(mesh)
        layouts[".*up/kernel"] = (None, "model")
        layouts[".*up/bias"] = ("model",)
        layouts[".*down/kernel"] = ("model", None)
        distribution = keras.distribution.ModelParallel(
            layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False
        )
    keras.distribution.set_distribution(distribution)


def build():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(32, activation="relu", name="up"),
            layers.Dropout(0.2, seed=5),
            layers.Dense(4, name="down"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model


def digest(model) -> str:
    values = [one.value for one in (*model.variables, *model.optimizer.variables)]
    whole = [multihost_utils.process_allgather(one, tiled=True) for one in values]
    return hashlib.sha256(b"".join(np.asarray(one).tobytes() for one in whole)).hexdigest()


def fit(layout: str, store: str, *, resume: bool = False, more: tuple[object, ...] = ()):
    model = build()
    callback = kept.ModelCheckpoint(
        f"{sys.argv[2]}/m{RANK}.keras",  # the others write no file
        monitor="loss",
        name="a",
        store=store,
        save_freq=3,
        resume=resume,
        on_commit=lambda version: {"rank": RANK},
    )
    data = Batches(is_divided=layout == "data")
    try:
        model.fit(data, epochs=4, verbose=0, callbacks=[callback, *more])
    except KeyboardInterrupt:
        callback.wait()
    return model, callback


def main(layout: str, folder: Path, stores: str) -> None:
    distribute(layout)
    model, callback = fit(layout, f"{stores}/whole")
    kernel = model.layers[0].kernel.value
    report(whole=digest(model), committed=len(callback.versions))
    report(is_sharded=not kernel.is_fully_replicated, processes=jax.process_count())
    fit(layout, f"{stores}/parts", more=(Interrupt(),))
    model, _ = fit(layout, f"{stores}/parts", resume=True)
    report(resumed=digest(model), files=sorted(path.name for path in folder.glob("*.keras")))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
