"""File names that tf_keras's ModelCheckpoint takes: each gives what tf_keras would write."""

import os
from pathlib import Path

import numpy as np
import pytest

import kept

tf_keras = pytest.importorskip("tf_keras")


@pytest.fixture
def model():
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(3,))])
    model.compile("sgd", "mse")
    return model


@pytest.mark.any_framework
@pytest.mark.parametrize(
    ("filepath", "weights_only", "written"),
    [
        ("m.hdf5", False, "m.hdf5"),
        ("m.hdf5", True, "m.hdf5"),
        ("m.keras", True, "m.keras"),
        ("weights.{epoch:02d}", True, "weights.01.index"),
        ("run-lr0.01-{epoch}", True, "run-lr0.01-1.index"),
        ("at_10:30-{epoch}", True, "at_10:30-1.index"),
        ("folder", True, "folder.index"),
        ("folder/", True, "folder/.index"),
        ("new/{epoch}/", True, "new/1/.index"),
        (".", True, "..index"),
    ],
)
def test_a_name_that_tf_keras_takes(model, filepath, weights_only, written):
    os.mkdir("folder")
    callback = kept.tf_keras.ModelCheckpoint(
        filepath, "loss", save_weights_only=weights_only, name="m"
    )
    model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0, callbacks=[callback])
    assert os.path.isfile(written)
    other = tf_keras.models.clone_model(model)
    callback.versions[0].load_weights(other)
    plain = tf_keras.models.clone_model(model)
    plain.load_weights(written.removesuffix(".index"))
    for loaded in (other, plain):
        for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    if written.endswith(".index") and filepath != "new/{epoch}/":
        import tensorflow as tf

        expected = {"folder/.index": "folder/.", "..index": "./."}
        default = os.path.join(".", written.removesuffix(".index"))
        latest = tf.train.latest_checkpoint(os.path.dirname(written) or ".")
        assert latest == expected.get(written, default)


@pytest.mark.any_framework
@pytest.mark.parametrize("filepath", ["folder", "folder/", ".", Path("folder"), "folder/."])
def test_a_folder_that_exists(model, filepath):
    os.mkdir("folder")
    Path("folder/other.txt").write_text("mine")
    store = os.path.abspath("../store")
    callback = kept.tf_keras.ModelCheckpoint(filepath, "loss", name="m", store=store)
    model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0, epochs=2, callbacks=[callback])
    assert Path("folder/other.txt").read_text() == "mine"
    loaded = tf_keras.models.load_model(filepath)
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])
    assert len(callback.versions) == 2
