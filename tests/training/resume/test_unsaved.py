"""What no version can hold is reported: at the first save of a fit, and when a run resumes."""

import json
import random
import types

import keras
import numpy as np
import pytest

import kept
from kept.training.data import devices
from kept.training.resume import resumption
from tests.training.resume.test_resume import checkpoint

FRAMEWORK = keras.backend.backend()
ROWS = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")


class Plain(keras.layers.Layer):
    """Holds an object, and changes it in each call that Python sees."""

    def __init__(self, held=None, change=None, **options):
        super().__init__(**options)
        self.held, self.change = held, change

    def call(self, x):
        if self.change is not None:
            self.change(self)
        return x


class WithState(keras.callbacks.Callback):
    """Has a random generator, and gives its state."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(1)

    def get_state(self):
        return {}

    def set_state(self, state):
        pass


class Draws(keras.callbacks.Callback):
    """Has a random generator, and gives no state."""

    def __init__(self, rng):
        super().__init__()
        self.rng = rng


class Changes(keras.callbacks.Callback):
    """Changes something of the model at the end of each batch."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def on_train_batch_end(self, batch, logs=None):
        self.change(self.model)


class Rows(keras.utils.PyDataset):
    def __init__(self, **attributes):
        super().__init__()
        vars(self).update(attributes)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return ROWS[index::2], ROWS[index::2, :1]


class Stateful(Rows):
    def get_state(self):
        return {}

    def set_state(self, state):
        pass


def make(*layers):
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def reports(capsys, *layers, callbacks=(), data=None, epochs=1):
    """Train once, and once more from the version; return what kept printed in each."""
    found = []
    for resume in (False, True):
        model, own = make(*layers), checkpoint(resume=resume)
        data = Rows() if data is None else data
        model.fit(data, epochs=epochs + resume, callbacks=[own, *callbacks], verbose=0)
        found.append(capsys.readouterr().out)
    return found


def tensor(value):
    return keras.ops.convert_to_tensor(np.float32(value))


def set_number(model):
    model.layers[0].held += 1


def set_tensor(model):
    model.layers[0].held = tensor(model.layers[0].held + 1)


def set_item(model):
    model.layers[0].held["a"] += 1


@pytest.mark.parametrize("kind", [random.Random, np.random.default_rng, np.random.RandomState])
def test_random_generators_of_layers_callbacks_and_data(capsys, kind):
    own = Draws(kind(1)), WithState()
    saved, resumed = reports(
        capsys, Plain(kind(1), name="noise"), callbacks=own, data=Rows(rng=kind(1))
    )
    for name in ("Draws.rng", "Rows.rng", "noise.held"):
        assert f"{name} (" in saved
        assert f"{name} (" in resumed
    assert "WithState" not in saved
    assert "no version holds" in resumed


@pytest.mark.parametrize(
    ("held", "change"),
    [(0, set_number), (tensor(0), set_tensor), ({"a": np.zeros(2)}, set_item)],
    ids=["number", "tensor", "array"],
)
def test_values_that_keras_does_not_track(capsys, held, change):
    saved, resumed = reports(capsys, Plain(held, name="counter"), callbacks=[Changes(change)])
    assert "versions do not hold" in saved
    assert "counter.held" in saved
    assert "counter.held" in resumed


class Warmup(keras.callbacks.Callback):
    """Counts batches, and gives no state."""

    def __init__(self):
        super().__init__()
        self.batches, self.rates, self.constant = 0, [], 7

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        self.rates += [0.1 / self.batches] * 60  # more than are compared one by one
        self.model.optimizer.learning_rate = self.rates[-1]


def test_counters_of_callbacks(capsys):
    model = make()
    model.fit(Rows(), epochs=1, callbacks=[Warmup(), checkpoint()], verbose=0)
    assert "hold" not in capsys.readouterr().out, "this fit was not asked to resume"
    make().fit(Rows(), epochs=2, callbacks=[Warmup(), checkpoint(resume=True)], verbose=0)
    said = capsys.readouterr().out
    assert "m:v0 is of a run with Warmup.batches, Warmup.rates, which no version holds" in said
    assert "versions do not hold Warmup.batches, Warmup.rates, so" in said
    make().fit(Rows(), epochs=3, callbacks=[checkpoint(resume=True)], verbose=0)
    assert "Warmup" not in capsys.readouterr().out


@pytest.mark.skipif(FRAMEWORK != "tensorflow", reason="a variable of TensorFlow")
def test_a_variable_of_tensorflow(capsys):
    import tensorflow as tf

    layers = Plain(tf.Variable(0.0), name="a"), Plain(tf.random.Generator.from_seed(1), name="b")
    change = Changes(lambda model: model.layers[0].held.assign_add(1))
    saved, _ = reports(capsys, *layers, callbacks=[change])
    assert "a.held" in saved
    assert "b.held" in saved


@pytest.mark.skipif(FRAMEWORK != "torch", reason="buffers and generators of torch")
def test_a_buffer_and_a_generator_of_torch(capsys):
    import torch

    layer = Plain(torch.Generator(), name="a")
    layer.register_buffer("seen", torch.zeros(1))
    change = Changes(lambda model: model.layers[0].seen.add_(1))
    saved, resumed = reports(capsys, layer, callbacks=[change])
    for text in (saved, resumed):
        assert "a.seen" in text
        assert "a.held (torch.Generator)" in text


def test_constants_and_what_is_saved_are_not_reported(capsys):
    class Saves(Plain):
        def save_own_variables(self, store):
            store["held"] = np.zeros(1)

        def load_own_variables(self, store):
            pass

    table = Plain({"table": np.arange(3.0), "name": "x", "rate": 0.5})
    seeded = keras.layers.Dropout(0.5, seed=1)
    data = Stateful(rng=random.Random(1))
    for text in reports(capsys, table, seeded, Saves(random.Random(1)), data=data):
        assert "hold" not in text.replace("threshold", "")


def test_a_python_generator_has_no_position(capsys):
    def batches():
        while True:
            yield ROWS[:8], ROWS[:8, :1]

    model = make()
    model.fit(batches(), steps_per_epoch=2, epochs=1, callbacks=[checkpoint()], verbose=0)
    assert "the position in a Python generator" in capsys.readouterr().out
    own = checkpoint(resume=True)
    model.fit(batches(), steps_per_epoch=2, epochs=2, callbacks=[own], verbose=0)
    assert "a new generator gives the same batches" in capsys.readouterr().out


def test_other_devices_are_reported(capsys, monkeypatch):
    def train(**options):
        make().fit(Rows(), epochs=2, callbacks=[checkpoint(save_freq=3, **options)], verbose=0)
        return capsys.readouterr().out

    train()
    assert "device" not in train(resume=True)
    monkeypatch.setattr(resumption, "devices", lambda model: "2 processes, 8 gpu devices")
    said = train(resume="m:v0")
    assert "and this run has 2 processes, 8 gpu devices" in said
    assert "last bits" in said


def test_devices_are_described(monkeypatch):
    model = make()
    kind = {"jax": "cpu", "torch": "cpu", "tensorflow": "CPU"}[FRAMEWORK]
    assert devices.devices(model) == f"1 process, 1 {kind} device"
    spread = types.SimpleNamespace(
        distribute_strategy=types.SimpleNamespace(num_replicas_in_sync=2)
    )
    assert devices.devices(spread).endswith(", 2 replicas")
    mesh = types.SimpleNamespace(device_mesh=types.SimpleNamespace(shape=(2, 4)))
    monkeypatch.setattr(keras.distribution, "distribution", lambda: mesh)
    assert devices.devices(model).endswith("SimpleNamespace of 2x4")


@pytest.mark.skipif(FRAMEWORK != "torch", reason="distributed training of torch")
def test_processes_of_torch(monkeypatch):
    import torch

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    assert devices.devices(make()).startswith("4 processes")


def test_a_state_of_an_earlier_kept_has_no_devices(capsys):
    model = make()
    model.fit(Rows(), callbacks=[own := checkpoint()], verbose=0)
    file = (folder := own.versions[0].download("again")) / "kept-state.json"
    content = json.loads(file.read_text())
    del content["devices"], content["unsaved"]
    file.write_text(json.dumps(content))
    kept.open_store().log_artifact("again", folder)
    capsys.readouterr()
    make().fit(Rows(), epochs=2, callbacks=[checkpoint("o", resume="again")], verbose=0)
    assert "devices" not in capsys.readouterr().out
