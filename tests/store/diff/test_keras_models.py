"""Diffs of real models: frozen, renamed, shared and new layers, other formats, tf_keras."""

import subprocess
import sys

import numpy as np
import pytest

import kept
from kept.store.diff.diff import diff
from kept.store.diff.sides import side_at
from tests.helpers import write

keras = pytest.importorskip("keras")

X, Y = np.random.default_rng(0).random((64, 8)), np.ones((64, 2))


def model(*hidden, last=2, trainable=True):
    """Layers of (name, units); a name of None leaves it to Keras."""
    layers = [keras.layers.Dense(units, name=name) for name, units in hidden]
    made = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(last, name="out")])
    made.layers[0].trainable = trainable
    made.compile("adam", "mse")
    return made


def saved(made, path):
    made.save(path)
    return side_at(path)


def kinds(result):
    return {change.name: change.kind for change in result.tensors}


def test_a_frozen_layer_is_unchanged(tmp_path):
    made = model(("first", 50), (None, 50), trainable=False)
    before = saved(made, tmp_path / "a.keras")
    made.fit(X, Y, verbose=0)
    result = diff(before, saved(made, tmp_path / "b.keras"))
    [dense] = {c.layer for c in result.tensors} - {"out"}
    assert dense.startswith("dense")
    assert result.unchanged == 3, "first/kernel, first/bias and the learning rate"
    assert {c.name for c in result.optimizer} >= {"optimizer/iteration"}
    assert result.layers[0].relative >= result.layers[1].relative
    assert not result.config


def test_the_same_model_in_another_process_has_other_names_and_no_renamed_layer(tmp_path):
    one, other = model((None, 20), (None, 20)), model((None, 20), (None, 20))
    other.set_weights(one.get_weights())
    result = diff(saved(one, tmp_path / "a.keras"), saved(other, tmp_path / "b.keras"))
    assert kinds(result) == {}
    for name in ("a", "b"):
        (one if name == "a" else other).save(tmp_path / f"{name}.h5")
    result = diff(side_at(tmp_path / "a.h5"), side_at(tmp_path / "b.h5"))
    assert kinds(result) == {}


def test_a_renamed_layer_is_renamed(tmp_path):
    one, other = model(("encoder", 200)), model(("features", 200))
    other.set_weights(one.get_weights())
    result = diff(saved(one, tmp_path / "a.keras"), saved(other, tmp_path / "b.keras"))
    assert kinds(result)["features/kernel"] == "renamed"
    assert "was encoder/kernel" in str(result)
    assert {c.kind for c in result.config if "layers" in c.key} == {"added", "removed"}


def test_a_layer_before_others_is_added(tmp_path):
    one, other = model(("a", 8), ("b", 8)), model(("new", 8), ("a", 8), ("b", 8))
    result = diff(saved(one, tmp_path / "a.keras"), saved(other, tmp_path / "b.keras"))
    assert {name: kind for name, kind in kinds(result).items() if kind != "changed"} == {
        "new/kernel": "added", "new/bias": "added",
    }  # fmt: skip
    for change in result.tensors:
        assert change.before is None or change.before.name == change.after.name


def test_another_width_is_another_shape(tmp_path):
    one, other = model(("a", 8)), model(("a", 8), last=3)
    result = diff(saved(one, tmp_path / "a.keras"), saved(other, tmp_path / "b.keras"))
    assert kinds(result)["out/kernel"] == "reshaped"
    assert ("config.layers.out.config.units", 1) in {(c.key, c.difference) for c in result.config}


def test_a_shared_layer_is_one(tmp_path):
    given = keras.Input((8,))
    shared = keras.layers.Dense(8, name="shared")
    made = keras.Model(given, keras.layers.Dense(2)(shared(shared(given))))
    before = saved(made, tmp_path / "a.keras")
    shared.set_weights([2 * value for value in shared.get_weights()])
    result = diff(before, saved(made, tmp_path / "b.keras"))
    assert {c.name: c.relative for c in result.tensors} == {"shared/kernel": 1}


@pytest.mark.parametrize("name", ["b.h5", "b.weights.h5", "b.keras"])
def test_formats_of_one_model_are_compared(tmp_path, name):
    made = model(("a", 30), (None, 30))
    made.fit(X, Y, verbose=0)
    before = saved(made, tmp_path / "a.keras")
    made.layers[0].set_weights([3 * value for value in made.layers[0].get_weights()])
    (made.save_weights if "weights" in name else made.save)(tmp_path / name)
    result = diff(before, side_at(tmp_path / name))
    assert {c.name: c.relative for c in result.tensors} == {
        "a/kernel": pytest.approx(2), "a/bias": pytest.approx(2),
    }  # fmt: skip


def test_shards_are_one_model(tmp_path):
    made = model(("a", 30), ("b", 30))
    whole = saved(made, tmp_path / "a.keras")
    folder = tmp_path / "shards"
    folder.mkdir()
    try:
        made.save_weights(folder / "m.weights.json", max_shard_size=1e-6)
    except (TypeError, ValueError):
        pytest.skip("this Keras has no shards")
    assert len(list(folder.iterdir())) > 2
    result = diff(whole, side_at(folder))
    assert (result.tensors, result.unchanged) == ((), 8)


def test_half_precision(tmp_path):
    given = keras.Input((8,))
    made = keras.Model(given, keras.layers.Dense(40, dtype="bfloat16", name="half")(given))
    before = saved(made, tmp_path / "a.keras")
    kernel, bias = (np.asarray(v).astype("f4") for v in made.get_weights())
    kernel[0, 0] = np.nan
    made.set_weights([kernel, bias + 1])
    found = {c.name: c for c in diff(before, saved(made, tmp_path / "b.keras")).tensors}
    assert found["half/kernel"].figures.nans == (0, 1)
    assert found["half/kernel"].figures.changed == 1
    assert found["half/bias"].relative == np.inf


def test_versions_of_a_fit_name_the_variables_of_the_optimizer(tmp_path, monkeypatch):
    from kept.keras import ModelCheckpoint

    monkeypatch.chdir(tmp_path)
    made = model(("a", 30))
    callback = ModelCheckpoint("ck/{epoch}.keras", store="kept-store", name="run", verbose=0)
    made.fit(X, Y, epochs=2, verbose=0, validation_data=(X, Y), callbacks=[callback])
    store = kept.open_store("kept-store")
    result = store["run:v0"].diff("run:v1")
    names = {c.name for c in result.optimizer}
    assert names >= {"optimizer/iteration", "optimizer/a_kernel_momentum"}
    assert {c.key for c in result.metrics} == {"loss", "val_loss"}
    assert not {c.key for c in result.metadata} & {"stall_seconds", "write_seconds"}
    assert [c.kind for c in result.files if c.has_tensors] == ["changed"]
    store["run:v1"].download(tmp_path / "out")
    assert not store["run:v1"].diff(tmp_path / "out").differs
    assert not store["run:v1"].diff(tmp_path / "out" / "2.keras").tensors


_TF_KERAS = """
import sys, numpy as np, tf_keras
tf_keras.utils.set_random_seed(0)
made = tf_keras.Sequential([tf_keras.layers.Dense(9, name="a", input_shape=(8,)),
                            tf_keras.layers.Dense(2)])
made.compile("adam", "mse")
made.save(sys.argv[1] + "/0.h5")
made.fit(np.ones((4, 8)), np.ones((4, 2)), verbose=0)
made.save(sys.argv[1] + "/1.h5")
made.save(sys.argv[1] + "/1.keras")
made.save_weights(sys.argv[1] + "/w.h5")
"""


@pytest.fixture(scope="module")
def tf_keras_files(tmp_path_factory):
    pytest.importorskip("tf_keras")
    folder = tmp_path_factory.mktemp("tf")
    script = write(folder / "script.py", _TF_KERAS.encode())
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


def test_h5_of_tf_keras(tf_keras_files):
    result = diff(side_at(tf_keras_files / "0.h5"), side_at(tf_keras_files / "1.h5"))
    assert {c.name for c in result.tensors if c.layer == "a"} == {"a/kernel", "a/bias"}
    assert len(result.tensors) == 4
    assert all(c.name.startswith("optimizer/") for c in result.optimizer)
    assert not result.config


def test_weights_of_tf_keras(tf_keras_files):
    result = diff(side_at(tf_keras_files / "1.h5"), side_at(tf_keras_files / "w.h5"))
    assert (result.tensors, result.unchanged) == ((), 4)
