"""Small models, runs of hooks with logs made up, and ways to hold the writer."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import keras
import numpy as np

from kept.training.save import write_checkpoint

PATIENCE = 60  # seconds until a test that hangs is given up


def make_data(outputs=1):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)).astype("float32")
    return x, (x[:, :outputs] > 0).astype("float32")


def make_model(*, metrics=("accuracy",), seed=1):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu", name="hidden"),
            keras.layers.Dropout(0.2, name="dropout"),
            keras.layers.Dense(1, activation="sigmoid", name="out"),
        ],
        name="small",  # names stand in the file, and Keras counts those it makes up
    )
    optimizer = keras.optimizers.Adam(name="adam")
    model.compile(optimizer, "binary_crossentropy", metrics=list(metrics))
    return model


def compiled_wide(dtype=None):
    """A compiled model whose kernels are large enough not to be collected with their neighbours."""
    dense = [keras.layers.Dense(200, dtype=dtype) for _ in range(2)]
    model = keras.Sequential([keras.Input((200,)), *dense])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def rewinder(model):
    """Return a function that makes the model what it is now, so that one is compiled only once."""
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    values = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]

    def rewind():
        keras.utils.set_random_seed(1)
        if keras.backend.backend() == "jax":
            model.jax_state_sync()  # of a fit that failed
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        # Saving as .h5 takes the optimizer out of what the live model's later .keras files tell.
        model._compile_config.config["optimizer"] = model.optimizer
        return model

    return rewind


def fit(model, data, *callbacks, epochs=1, batch_size=10, **options):
    x, y = data
    return model.fit(
        x, y, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=list(callbacks), **options
    )


def play(callbacks, logs, *, model, batches=1, start=0):
    """Call the hooks as fit does, with one dict of logs for each epoch; return the model.

    The weights change before every batch, so that each checkpoint differs from the one before.
    """
    hooks = keras.callbacks.CallbackList(callbacks, model=model, epochs=len(logs), steps=batches)
    hooks.on_train_begin()
    for epoch, metrics in enumerate(logs, start):
        hooks.on_epoch_begin(epoch)
        for batch in range(batches):
            change(model)
            hooks.on_train_batch_begin(batch)
            hooks.on_train_batch_end(batch, dict(metrics))
        hooks.on_epoch_end(epoch, dict(metrics))
    hooks.on_train_end()
    return model


def begin(callback, model):
    """Begin to train, and wait until the memory for a snapshot exists."""
    callback.set_model(model)
    callback.set_params({})
    callback.on_train_begin()
    callback.on_train_batch_end(0)
    callback.wait()


def losses(*values):
    return [{"val_loss": value} for value in values]


def change(model):
    """Make the weights differ from what they were."""
    variable = model.weights[-1]
    variable.assign(variable + 1)


def epochs_of(versions):
    return [version.metadata["epoch"] for version in versions]


def by_alias(store, name):
    """Alias -> index for every alias of an artifact."""
    return {alias: version.index for alias, version in store.artifact(name).aliases.items()}


def best_epoch(store, name):
    return store[f"{name}:best"].metadata["epoch"]


def content(path):
    """What is in a checkpoint, without the date that Keras puts in every .keras file."""
    path = Path(path)
    if path.suffix != ".keras":
        return {path.name: path.read_bytes()}
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist() if n != "metadata.json"}


def content_of(version, folder):
    """What is in a version's only checkpoint, downloaded to a new folder below folder."""
    (file,) = [file for file in version.files if not file.path.startswith("kept-state.")]
    return content(version.download(Path(folder, version.version)) / file.path)


def state(model):
    """Every value a checkpoint should bring back."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.weights, *(optimizer.variables if optimizer else ())]
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assert_same_state(model, other):
    assert len(state(model)) == len(state(other))
    for ours, theirs in zip(state(model), state(other), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def leftovers(folder):
    return list(Path(folder).rglob(".kept-*"))


def template(filepath):
    """Return what a callback makes of its filepath."""
    from kept.training.keras_api.keras3 import Keras3
    from kept.training.save.path_template import PathTemplate

    weights_only = str(filepath).endswith(".weights.h5")
    return PathTemplate(filepath, Keras3(), weights_only=weights_only, has_batch=False)


class LiveSave(keras.callbacks.Callback):
    """Saves with Keras's own code, at the same moments as the callback under test."""

    def __init__(self, folder, ending, *, each):
        super().__init__()
        self.folder, self.ending, self.each = Path(folder), ending, each
        self.paths = []
        self.folder.mkdir(parents=True)

    def on_train_batch_end(self, batch, logs=None):
        if self.each == "batch":
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        if self.each == "epoch":
            self.save()

    def save(self):
        # The archive's own file name stands in no member, the folder's does not either.
        path = self.folder / str(len(self.paths)) / f"m{self.ending}"
        path.parent.mkdir()
        if self.ending == ".weights.h5":
            self.model.save_weights(path)
        else:
            self.model.save(path)
        self.paths.append(path)


class Gate:
    """Holds the writer before every file."""

    def __init__(self, monkeypatch):
        self.waiting = threading.Event()  # the writer is at the gate
        self._allowed = threading.Semaphore(0)
        self._is_open = False
        real = write_checkpoint.write_snapshot

        def held(*args, **options):
            self.waiting.set()
            assert self._is_open or self._allowed.acquire(timeout=PATIENCE)
            return real(*args, **options)

        monkeypatch.setattr(write_checkpoint, "write_snapshot", held)

    def let_through(self, files):
        """Let the writer write so many files."""
        self._allowed.release(files)

    def open(self):
        self._is_open = True
        self._allowed.release()  # for the one that waits


class Stopped(RuntimeError):
    """Raised by Stop."""


class Stop(keras.callbacks.Callback):
    """Raises at the end of a batch, counted over all epochs."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise Stopped("stopped by the test")


class AtTheEnd(keras.callbacks.Callback):
    """Calls a function when training is over, before the callbacks after it end."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def on_train_end(self, logs=None):
        self.call()
