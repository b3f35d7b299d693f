"""File names that tf_keras's ModelCheckpoint takes: each gives what tf_keras would write."""

import os

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
    ],
)
def test_a_name_that_tf_keras_takes(model, filepath, weights_only, written):
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
    if written.endswith(".index"):
        import tensorflow as tf

        assert tf.train.latest_checkpoint(".") == "./" + written.removesuffix(".index")
