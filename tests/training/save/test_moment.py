"""A checkpoint is the model at the moment of its save: its Python state, too.

The writer is held until the end, when callbacks have changed the live model.
"""

from __future__ import annotations

import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import kept
from kept.errors import SaveFailed
from kept.training.keras_api import private_api
from kept.training.save.python_part import PythonParts
from kept.training.snapshot.snapshot import Snapshot
from kept.training.snapshot.variables import untracked
from tests.training.helpers import AtTheEnd, LiveSave, content, content_of, play, template

pytestmark = pytest.mark.any_framework


@keras.saving.register_keras_serializable("kept_tests")
class Counted(layers.Layer):
    """Has Python state in each of the ways that Keras offers."""

    count = 0

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x):
        return x * self.scale

    def save_own_variables(self, store):
        store["scale"] = self.scale
        store["count"] = np.array([self.count])

    def save_assets(self, folder):
        with open(f"{folder}/count.txt", "w") as file:
            file.write(str(self.count))

    def get_config(self):
        return {**super().get_config(), "count": self.count}

    def get_build_config(self):
        return {**super().get_build_config(), "count": self.count}


def rate(model, epoch):
    model.layers[0].rate = 0.5 - epoch / 10


def trainable(model, epoch):
    model.layers[1].trainable = epoch % 2 == 0


def clipnorm(model, epoch):
    model.optimizer.clipnorm = 1.0 + epoch


def learning_rate(model, epoch):
    model.optimizer.learning_rate = 1.0 / (2 + epoch)


def counted(model, epoch):
    model.layers[2].count = epoch


def regularizer(model, epoch):
    model.layers[1].kernel_regularizer.l2 = 0.5 * epoch


def rate_in_an_inner_model(model, epoch):
    model.layers[3].layers[0].rate = 0.1 * epoch


CHANGES = [
    *(rate, trainable, clipnorm, learning_rate, counted, regularizer),
    rate_in_an_inner_model,
]


def make():
    regularized = layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1))
    inner = keras.Sequential([keras.Input((3,)), layers.Dropout(0.9), layers.Dense(1)])
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dropout(0.5), regularized, Counted(), inner]
    )
    model.compile(keras.optimizers.Adam(), "mse")
    return model


def parts(path):
    """Return all of a .keras file but the time at which it was made."""
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n not in ("metadata.json", "model.weights.h5")]
        return {name: archive.read(name) for name in names} | {"weights": content(path)}


def saved(gate, tmp_path, change, ending, model):
    callback = kept.ModelCheckpoint(f"out/m{ending}", save_weights_only="weights" in ending)
    live = LiveSave(tmp_path / "live", ending, each="epoch")
    changing = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: change(model, epoch)
    )
    play([changing, AtTheEnd(gate.open), live, callback], [{}] * 2, model=model)
    return callback, live


@pytest.mark.parametrize("change", CHANGES)
def test_is_of_the_moment(change, gate, tmp_path):
    callback, live = saved(gate, tmp_path, change, ".keras", make())
    assert len(callback.versions) == 2
    for version, path in zip(callback.versions, live.paths, strict=True):
        assert content_of(version, tmp_path / "kept") == content(path)
        (file,) = (tmp_path / "kept").rglob("*.keras")
        ours, theirs = parts(file), parts(path)
        shutil.rmtree(tmp_path / "kept")
        assert json.loads(ours.pop("config.json")) == json.loads(theirs.pop("config.json"))
        assert ours == theirs


def test_weights_alone_are_of_the_moment(gate, tmp_path):
    callback, live = saved(gate, tmp_path, counted, ".weights.h5", make())
    for version, path in zip(callback.versions, live.paths, strict=True):
        assert content_of(version, tmp_path / "kept") == content(path)


@pytest.fixture
def serialized(monkeypatch):
    """The models whose whole configuration was serialized, one for each time."""
    real, calls = private_api.serialize_config, []
    monkeypatch.setattr(
        private_api, "serialize_config", lambda model: calls.append(model) or real(model)
    )
    return calls


def plain():
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def test_what_has_not_changed_is_not_serialized_again(gate, tmp_path, serialized):
    model = plain()
    model.optimizer.build(model.trainable_variables)
    saved(gate, tmp_path, lambda *_: None, ".keras", model)
    assert len(serialized) == 1


def test_a_fit_alone_is_no_change(gate, serialized):
    """The whole is serialized after the first batch; then only what a callback changes."""
    model = plain()
    gate.open()
    x, y = np.ones((8, 4)), np.ones((8, 1))
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5**epoch)
    callback = kept.ModelCheckpoint("m.keras", name="m")
    for _ in range(2):
        data = {"epochs": 2, "validation_data": (x, y), "verbose": 0}
        model.fit(x, y, callbacks=[rates, callback], **data)
    assert len(serialized) == 2  # once for each fit
    found = [version.load_model().optimizer.learning_rate for version in callback.versions]
    assert [float(rate) for rate in found] == [1.0, 0.5] * 2


def test_variables_in_the_configuration_of_a_layer_are_of_the_moment(gate, tmp_path, serialized):
    """A compiled model in a model has a learning rate, too; the whole is serialized then."""
    inner = plain()
    model = keras.Sequential([keras.Input((4,)), inner])
    model.compile("adam", "mse")

    def change(_, epoch):
        inner.optimizer.learning_rate = 1.0 / (2 + epoch)

    callback, live = saved(gate, tmp_path, change, ".keras", model)
    assert len(serialized) > 1
    for version, path in zip(callback.versions, live.paths, strict=True):
        assert content_of(version, tmp_path / "kept") == content(path)
        (file,) = (tmp_path / "kept").rglob("*.keras")
        assert parts(file)["config.json"] == parts(path)["config.json"]
        shutil.rmtree(tmp_path / "kept")


def test_a_model_that_cannot_be_serialized_fails_at_its_save(gate):
    """Not before, after the first batch."""

    class Broken(layers.Dense):
        def get_config(self):
            raise ValueError("no config")

    model = keras.Sequential([keras.Input((4,)), Broken(1)])
    model.compile("adam", "mse")
    gate.open()
    x, y = np.ones((8, 4)), np.ones((8, 1))
    callback = kept.ModelCheckpoint("m.keras", name="m", save_freq=2)
    model.fit(x, y, callbacks=[callback], verbose=0)
    with pytest.raises(SaveFailed, match="no config"):
        model.fit(x, y, epochs=2, callbacks=[callback], verbose=0)


class OwnSave(keras.Sequential):
    """Saves in its own way, on the writer thread."""

    def save(self, filepath, **options):
        super().save(filepath, **options)


def built(kind):
    model = kind([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(), "mse")
    return model


@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_a_file_of_the_model_s_own_method_may_have_later_state_which_is_reported(
    ending, gate, tmp_path, capsys
):
    """Its configuration is of the moment; what else the method reads is not known."""
    callback, live = saved(gate, tmp_path, rate, ending, built(OwnSave))
    assert "Epoch 1: the model's configuration" in capsys.readouterr().out
    for version, path in zip(callback.versions, live.paths, strict=True):
        folder = version.download(tmp_path / version.reference[-2:])
        assert config_of(folder / f"m{ending}") == config_of(path)


@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_other_files_are_of_the_moment(ending, gate, tmp_path, capsys):
    callback, live = saved(gate, tmp_path, rate, ending, built(keras.Sequential))
    assert "configuration" not in capsys.readouterr().out
    for version, path in zip(callback.versions, live.paths, strict=True):
        folder = version.download(tmp_path / version.reference[-2:])
        assert config_of(folder / f"m{ending}") == config_of(path)


@pytest.mark.parametrize("change", [clipnorm, learning_rate, regularizer, rate_in_an_inner_model])
def test_an_h5_file_is_of_the_moment(change, gate, tmp_path):
    callback, live = saved(gate, tmp_path, change, ".h5", make())
    for version, path in zip(callback.versions, live.paths, strict=True):
        folder = version.download(tmp_path / version.reference[-2:])
        assert config_of(folder / "m.h5") == config_of(path)


def test_a_path_that_changes_to_another_format_has_the_configuration_of_the_moment(gate):
    model = built(keras.Sequential)
    gate.open()
    callback = kept.ModelCheckpoint("m.keras", name="m")
    play([callback], [{}], model=model)
    callback.filepath = "m.h5"
    play([callback], [{}], model=model)
    expected = config_of("m.h5")
    model.layers[0].rate = 0.25
    play([callback], [{}], model=model)
    assert config_of("m.h5") != expected
    model.save("live.h5")
    assert config_of("m.h5") == config_of("live.h5")


def config_of(path):
    """Return all configuration in a file."""
    if str(path).endswith(".keras"):
        return json.loads(parts(path)["config.json"])
    with h5py.File(path) as file:
        return {name: file.attrs[name] for name in file.attrs}


def test_unlisted_variables_are_found_again_after_a_change():
    """A layer that gets a state between two saves has it in the later snapshot."""
    model = plain()
    parts = PythonParts(template("m.weights.h5"))
    snapshot = Snapshot(keras.backend.backend())
    found = []
    for n in range(3):
        before = parts.unchanged(model)
        hidden = untracked(model) if before is None else before.untracked
        parts.take(model, snapshot, hidden, before)
        found.append([*hidden])
        if n == 0:
            state = keras.Variable([1.0], trainable=False)
            object.__setattr__(model.layers[0], "hidden_state", (state,))
    assert [len(variables) for variables in found] == [0, 1, 1]
    assert found[2][0] is model.layers[0].hidden_state[0]
