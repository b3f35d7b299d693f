"""The ending of filepath chooses the format; what cannot work is an error with one that can."""

from __future__ import annotations

import importlib.util

import pytest

from kept.errors import InvalidCheckpoint
from kept.training.keras_api import formats
from kept.training.keras_api.formats import check_options, choose_format

pytestmark = pytest.mark.any_framework


@pytest.mark.parametrize(
    ("template", "package", "framework", "weights_only", "expected"),
    [
        ("m.keras", "keras", "jax", False, formats.KERAS),
        ("a/{epoch:02d}-{val_loss:.2f}.keras", "keras", "torch", False, formats.KERAS),
        ("m.h5", "keras", "jax", False, formats.H5),
        ("m.weights.h5", "keras", "torch", True, formats.WEIGHTS),
        ("m.weights.h5", "tf_keras", "tensorflow", True, formats.WEIGHTS),
        ("m.h5", "tf_keras", "tensorflow", True, formats.H5_WEIGHTS),
        ("folder.1/m", "keras", "tensorflow", False, formats.SAVED_MODEL),
        ("m-{val_loss:.2f}", "keras", "tensorflow", False, formats.SAVED_MODEL),
        ("m.tf", "tf_keras", "tensorflow", False, formats.SAVED_MODEL),
        ("m.ckpt", "tf_keras", "tensorflow", False, formats.SAVED_MODEL),
        ("m.ckpt", "keras", "tensorflow", True, formats.TF_CHECKPOINT),
        ("m", "tf_keras", "tensorflow", True, formats.TF_CHECKPOINT),
        ("m.hdf5", "tf_keras", "tensorflow", False, formats.H5),
        ("m.hdf5", "tf_keras", "tensorflow", True, formats.H5_WEIGHTS),
        ("m.keras", "tf_keras", "tensorflow", True, formats.H5_WEIGHTS),
        ("weights.{epoch:02d}", "tf_keras", "tensorflow", True, formats.TF_CHECKPOINT),
        ("run-lr0.01-{epoch}", "tf_keras", "tensorflow", True, formats.TF_CHECKPOINT),
        ("run-lr0.01-{epoch}", "tf_keras", "tensorflow", False, formats.SAVED_MODEL),
        ("m.model", "tf_keras", "tensorflow", False, formats.SAVED_MODEL),
    ],
)
def test_the_ending_chooses(template, package, framework, weights_only, expected):
    found = choose_format(template, package, framework, weights_only=weights_only)
    assert found is expected


@pytest.mark.parametrize(
    ("template", "package", "framework", "weights_only", "message"),
    [
        ("m.weights.h5", "keras", "jax", False, r"must end in \.keras \(or \.h5\)"),
        ("m.ckpt", "keras", "tensorflow", False, r"must end in \.keras \(or \.h5\)"),
        ("m.txt", "keras", "jax", False, r"Received: filepath='m\.txt'"),
        ("m", "keras", "torch", False, r"from torch\. It must end in \.keras here, .*'m\.keras'"),
        ("m.keras", "keras", "jax", True, r"must end in \.weights\.h5\. Received"),
        ("m.h5", "keras", "jax", True, r"must end in \.weights\.h5\. Received"),
        ("m.ckpt", "keras", "jax", True, "jax has no TensorFlow checkpoints"),
        ("m.txt", "keras", "tensorflow", True, "or in nothing, for a TensorFlow checkpoint"),
    ],
)
def test_what_cannot_work_is_an_error(template, package, framework, weights_only, message):
    with pytest.raises(InvalidCheckpoint, match=message):
        choose_format(template, package, framework, weights_only=weights_only)


def test_a_saved_model_needs_tensorflow(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidCheckpoint, match="TensorFlow, which writes it, is not installed"):
        choose_format("m", "keras", "jax", weights_only=False)


def test_which_formats_are_one_file():
    files = [formats.KERAS, formats.H5, formats.WEIGHTS, formats.H5_WEIGHTS]
    assert all(format.is_file for format in files)
    assert not formats.SAVED_MODEL.is_file
    assert not formats.TF_CHECKPOINT.is_file


class TestOptions:
    def test_none_fits_every_format(self):
        check_options(None, formats.KERAS, "keras")
        check_options(None, formats.SAVED_MODEL, "keras")

    def test_a_file_takes_none(self):
        with pytest.raises(InvalidCheckpoint, match=r"a \.keras file takes no options.*options=3"):
            check_options(3, formats.KERAS, "tf_keras")

    def test_each_format_takes_those_of_its_class(self):
        tf = pytest.importorskip("tensorflow")
        check_options(tf.saved_model.SaveOptions(), formats.SAVED_MODEL, "keras")
        check_options(tf.train.CheckpointOptions(), formats.TF_CHECKPOINT, "keras")
        with pytest.raises(InvalidCheckpoint, match=r"options is a tf\.saved_model\.SaveOptions"):
            check_options(tf.train.CheckpointOptions(), formats.SAVED_MODEL, "keras")

    def test_tf_keras_takes_them_for_files_too(self):
        tf = pytest.importorskip("tensorflow")
        model, weights = tf.saved_model.SaveOptions(), tf.train.CheckpointOptions()
        fits = {formats.H5: model, formats.H5_WEIGHTS: weights, formats.WEIGHTS: weights}
        for format, options in fits.items():
            check_options(options, format, "tf_keras")
            with pytest.raises(TypeError, match=r"options is a tf\."):
                check_options(weights if options is model else model, format, "tf_keras")
        with pytest.raises(InvalidCheckpoint, match="takes no options"):
            check_options(model, formats.H5, "keras")
