"""Trains where the disk gets really full. Arguments: where it does, on_error, a folder, s3://…

The folder has `small`, a file system of 40 MB; ballast fills it, and is taken away again. What is
found is printed as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings

import keras
import numpy as np

import kept
from kept.errors import SaveFailed


def fill(folder):
    """Leave 100 kB, a twentieth of a checkpoint; return the ballast.

    What statvfs tells of a tmpfs is a rough figure only, so it is filled to the last page first.
    """
    path = os.path.join(folder, "ballast")
    with open(path, "wb", buffering=0) as file:
        for size in (1_000_000, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
        file.truncate(file.tell() - 100_000)
    return path


def make_model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((400,)), keras.layers.Dense(400), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def fit(model, callback, epochs):
    """Train; return what was warned of, and what was raised."""
    rng = np.random.default_rng(0)
    x, raised = rng.normal(size=(8, 400)).astype("float32"), ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            history = model.fit(
                x, x[:, :1], epochs=epochs, batch_size=4, verbose=0, callbacks=[callback]
            )
            assert len(history.epoch) == epochs
        except SaveFailed as error:
            raised = str(error)
    return [str(w.message) for w in caught if "continues without" in str(w.message)], raised


def good(store):
    """Return the versions of a store that are whole, by number; nothing in it is damaged."""
    assert store.verify().problems == []
    found = store.versions("m")
    if found:
        found[-1].load_model()
    return [version.index for version in found]


def main(where, on_error, folder, s3):
    small = os.path.join(folder, "small")
    place = {name: small if name == where else os.path.join(folder, "large")
             for name in ("store", "files", "outbox")}  # fmt: skip
    os.environ["KEPT_OUTBOX"] = os.path.join(place["outbox"], "outbox")
    location = s3 if where == "outbox" else os.path.join(place["store"], "store")
    # With an outbox the files are there, too: an entry is a link to them.
    files = os.path.join(place["files" if where != "outbox" else "outbox"], "files")
    callback = kept.ModelCheckpoint(
        os.path.join(files, "m.keras"), monitor="loss", name="m", store=location,
        on_error=on_error, grace_seconds=None,
    )  # fmt: skip
    model, store = make_model(), kept.open_store(location)
    fit(model, callback, 2)
    before = good(store)
    ballast = fill(small)
    warned, raised = fit(model, callback, 3)
    full = good(store)
    keras.saving.load_model(os.path.join(files, "m.keras"))
    left = sorted(name for name in os.listdir(files) if name != "m.keras")
    os.unlink(ballast)
    again, error = fit(model, callback, 2)
    keras.saving.load_model(os.path.join(files, "m.keras"))
    print(json.dumps({"before": before, "warned": warned, "raised": raised, "full": full,
                      "left": left, "again": [*again, error], "after": good(store)}))  # fmt: skip


def keeping(folder):
    """Train with keep= until many times the disk was written."""
    store = kept.open_store(os.path.join(folder, "small", "store"))
    callback = kept.ModelCheckpoint(
        os.path.join(folder, "m.keras"), monitor="none", mode="max", name="m", store=store,
        keep=kept.Keep(last=2), keep_local=False, grace_seconds=None,
    )  # fmt: skip
    warned, raised = fit(make_model(), callback, 50)
    print(json.dumps({"warned": warned, "raised": raised, "after": good(store),
                      "written": len(callback.versions) * callback.versions[0].size}))  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "keeping":
        keeping(sys.argv[3])
    else:
        main(*sys.argv[1:])
