"""One short training for each kind of data; run as a process of its own.

    python -m tests.training.resume.resume_data FOLDER before|after

Before: each training without a break, and once more up to a break. After: the second continues.
Prints what came out for each kind, and what kept said, as JSON in the last line.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import random
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import kept
from tests.training.helpers import Stop, Stopped, rewinder

BATCHES, BATCH_SIZE, EPOCHS = 5, 8, 3


def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCHES * BATCH_SIZE, 4)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def arrays():
    x, y = rows()
    return {"x": x, "y": y, "batch_size": BATCH_SIZE}


def arrays_with_steps():
    return arrays() | {"steps_per_epoch": 3}


def arrays_with_all_steps():
    return arrays() | {"steps_per_epoch": BATCHES}


def _tf_data():
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    return tf.data.Dataset.from_tensor_slices(rows())


def tf_data_in_order():
    return {"x": _tf_data().batch(BATCH_SIZE)}


def tf_data_shuffled_once():
    shuffled = _tf_data().shuffle(40, seed=3, reshuffle_each_iteration=False)
    return {"x": shuffled.batch(BATCH_SIZE)}


def tf_data_reshuffled():
    return {"x": _tf_data().shuffle(40, seed=3).batch(BATCH_SIZE)}


def tf_data_by_the_global_seed():
    return {"x": _tf_data().shuffle(40).batch(BATCH_SIZE)}


def tf_data_with_all_steps():
    return {"x": _tf_data().shuffle(40, seed=3).batch(BATCH_SIZE), "steps_per_epoch": BATCHES}


def tf_data_of_unknown_length():
    return {"x": _tf_data().filter(lambda x, y: True).shuffle(40, seed=3).batch(BATCH_SIZE)}


def tf_data_repeated():
    data = _tf_data().shuffle(40, seed=3).repeat().batch(BATCH_SIZE)
    return {"x": data, "steps_per_epoch": 3}


def _torch_data(**options):
    import torch

    data = torch.utils.data.TensorDataset(*map(torch.tensor, rows()))
    return torch.utils.data.DataLoader(data, batch_size=BATCH_SIZE, **options)


def loader_in_order():
    return {"x": _torch_data()}


def loader_shuffled():
    return {"x": _torch_data(shuffle=True)}


def loader_with_a_generator():
    import torch

    return {"x": _torch_data(shuffle=True, generator=torch.Generator().manual_seed(5))}


def loader_with_all_steps():
    return {"x": _torch_data(shuffle=True), "steps_per_epoch": BATCHES}


def loader_with_steps():
    return {"x": _torch_data(shuffle=True), "steps_per_epoch": 3}


def loader_with_its_own_sampler():
    import torch

    class ByNumPy(torch.utils.data.Sampler):
        def __len__(self):
            return BATCHES * BATCH_SIZE

        def __iter__(self):
            return iter(np.random.permutation(len(self)).tolist())

    return {"x": _torch_data(sampler=ByNumPy())}


class Rows(keras.utils.PyDataset):
    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        return tuple(part[index::BATCHES] for part in rows())


class Reordered(Rows):
    """Shuffles at the end of an epoch, as Keras's documentation suggests."""

    def __init__(self, **options):
        super().__init__(**options)
        self.order = np.arange(BATCHES * BATCH_SIZE)

    def __getitem__(self, index):
        chosen = self.order[index::BATCHES]
        return tuple(part[chosen] for part in rows())

    def on_epoch_end(self):
        np.random.shuffle(self.order)


class Remembering(Reordered):
    """The same, with a state."""

    def get_state(self):
        return {"order": self.order}

    def set_state(self, state):
        self.order = state["order"]


def py_dataset():
    return {"x": Rows()}


def py_dataset_in_order():
    return {"x": Rows(), "shuffle": False}


def py_dataset_with_workers():
    return {"x": Rows(workers=2)}


def py_dataset_that_reorders_itself():
    return {"x": Reordered(), "shuffle": False}


def py_dataset_with_a_state():
    return {"x": Remembering(), "shuffle": False}


def py_dataset_with_steps():
    return {"x": Rows(), "steps_per_epoch": 3}


def dataset_of_kept():
    return {"x": kept.Dataset(*rows(), batch_size=BATCH_SIZE), "shuffle": False}


def dataset_of_kept_with_workers():
    return {"x": kept.Dataset(*rows(), batch_size=BATCH_SIZE, workers=2), "shuffle": False}


def generator():
    def stream():
        rng = np.random.default_rng(4)
        x, y = rows()
        while True:
            chosen = rng.permutation(len(x))[:BATCH_SIZE]
            yield x[chosen], y[chosen]

    return {"x": stream(), "steps_per_epoch": 3}


def _grain():
    import grain

    x, y = rows()
    return grain.MapDataset.source([(x[n], y[n]) for n in range(len(x))]).seed(3)


def grain_map():
    return {"x": _grain().shuffle().batch(BATCH_SIZE)}


def grain_iter():
    return {"x": _grain().shuffle().to_iter_dataset().batch(BATCH_SIZE)}


def grain_repeated():
    return {"x": _grain().shuffle().repeat().batch(BATCH_SIZE), "steps_per_epoch": 3}


def grain_iter_repeated():
    data = _grain().shuffle().repeat().to_iter_dataset().batch(BATCH_SIZE)
    return {"x": data, "steps_per_epoch": 3}


def grain_loader():
    import grain

    x, y = rows()
    source = [(x[n], y[n]) for n in range(len(x))]
    sampler = grain.samplers.IndexSampler(len(x), num_epochs=1, shuffle=True, seed=3)
    operations = [grain.transforms.Batch(BATCH_SIZE)]
    return {"x": grain.DataLoader(data_source=source, sampler=sampler, operations=operations)}


def grain_loader_repeated():
    import grain

    x, y = rows()
    source = [(x[n], y[n]) for n in range(len(x))]
    sampler = grain.samplers.IndexSampler(len(x), num_epochs=None, shuffle=True, seed=3)
    operations = [grain.transforms.Batch(BATCH_SIZE)]
    data = grain.DataLoader(data_source=source, sampler=sampler, operations=operations)
    return {"x": data, "steps_per_epoch": 3}


KINDS = {
    one.__name__: one
    for one in (
        arrays,
        arrays_with_steps,
        arrays_with_all_steps,
        tf_data_in_order,
        tf_data_shuffled_once,
        tf_data_reshuffled,
        tf_data_by_the_global_seed,
        tf_data_with_all_steps,
        tf_data_of_unknown_length,
        tf_data_repeated,
        loader_in_order,
        loader_shuffled,
        loader_with_a_generator,
        loader_with_all_steps,
        loader_with_steps,
        loader_with_its_own_sampler,
        py_dataset,
        py_dataset_in_order,
        py_dataset_with_workers,
        py_dataset_that_reorders_itself,
        py_dataset_with_a_state,
        py_dataset_with_steps,
        dataset_of_kept,
        dataset_of_kept_with_workers,
        generator,
        grain_map,
        grain_iter,
        grain_repeated,
        grain_iter_repeated,
        grain_loader,
        grain_loader_repeated,
    )
}
if keras.__version__.startswith("3.10."):  # its fit takes no Grain data
    KINDS = {name: kind for name, kind in KINDS.items() if not name.startswith("grain")}


def scramble():
    """Leave no generator as it was, except for TensorFlow's, whose seed has to be set again."""
    import torch

    np.random.seed()
    random.seed()
    torch.seed()


@functools.cache
def model():
    """One model for all, so that it is compiled once."""
    keras.utils.set_random_seed(1)
    found = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.3), keras.layers.Dense(1)])
    found.compile(keras.optimizers.Adam(0.01), "mse")
    found.optimizer.build(found.trainable_variables)
    return found


@functools.cache
def rewind():
    found = rewinder(model())
    model().fit(*rows(), verbose=0)  # the first fit builds things, which draws random numbers
    return found


def train(kind, folder, how):
    import torch

    rewind()()
    keras.utils.set_random_seed(7)
    torch.manual_seed(7)  # which Keras does not do where it does not use torch
    if how == "resumed":
        scramble()
    data = KINDS[kind]()
    steps = data.get("steps_per_epoch") or BATCHES
    saved = steps + 2 if how == "interrupted" else 10**6  # in the second epoch, and only there
    own = kept.ModelCheckpoint(
        folder / f"{kind}.weights.h5",
        save_weights_only=True,
        monitor="loss",
        name=kind,
        store=folder / ("straight" if how == "straight" else "store"),
        save_freq=saved,
        resume=True,
    )
    stop = [Stop(saved + 1)] if how == "interrupted" else []
    trained = model()
    with contextlib.redirect_stdout(said := io.StringIO()):
        try:
            history = trained.fit(**data, epochs=EPOCHS, callbacks=[own, *stop], verbose=0)
        except Stopped:
            own.close()
            return {"said": said.getvalue()}
    weights = b"".join(np.asarray(keras.ops.convert_to_numpy(w)).tobytes() for w in trained.weights)
    return {
        "said": said.getvalue(),
        "weights": hashlib.sha256(weights).hexdigest()[:12],
        "loss": history.history["loss"],
        "step": int(trained.optimizer.iterations),
    }


def main(folder, when, *kinds):
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    hows = ("straight", "interrupted") if when == "before" else ("resumed",)
    found = {kind: [train(kind, folder, how) for how in hows] for kind in kinds or KINDS}
    print(json.dumps({kind: outcomes[0] for kind, outcomes in found.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
