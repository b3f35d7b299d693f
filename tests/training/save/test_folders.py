"""Formats of more than one file, and those that one framework has and another has not."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import pytest

import kept
from kept import messages
from kept.errors import InvalidCheckpoint, InvalidInput
from kept.training.keras_api import formats
from tests.training.helpers import (
    AtTheEnd,
    assert_same_state,
    change,
    fit,
    leftovers,
    make_model,
    play,
)

FRAMEWORK = keras.backend.backend()
exports = pytest.mark.skipif(FRAMEWORK == "torch", reason="Keras exports none from torch")
on_tensorflow = pytest.mark.skipif(FRAMEWORK != "tensorflow", reason="of TensorFlow")


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def answers(folder, x):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    return loaded.serve(x).numpy()


@exports
class TestSavedModel:
    def test_is_folder_and_version(self, data, own_model):
        callback = kept.ModelCheckpoint("new/m-{epoch:02d}-{loss:.2f}", monitor="loss", name="m")
        fit(own_model, data, callback, epochs=2)
        folders = sorted(Path("new").iterdir())
        assert [folder.name[:5] for folder in folders] == ["m-01-", "m-02-"]
        for folder, version in zip(folders, callback.versions, strict=True):
            root = version.download(f"out/{version.version}")
            assert files(root) == files(folder)
            assert "saved_model.pb" in files(root)
            assert version.metadata["format"] == "saved_model"
        x = data[0]
        expected = own_model.predict(x, verbose=0)
        np.testing.assert_allclose(answers(folders[1], x), expected, rtol=1e-5)
        np.testing.assert_allclose(answers("out/v1", x), expected, rtol=1e-5)
        assert leftovers(".") == []

    def test_replaces_the_one_before(self, data, own_model):
        callback = kept.ModelCheckpoint("m", save_freq=2, name="m")
        fit(own_model, data, callback, AtTheEnd(lambda: change(own_model)))
        assert files("m") == files(callback.versions[-1].download("out"))
        assert len({version.digest for version in callback.versions}) == 2

    def test_the_other_files_of_a_folder_stay(self, data, own_model):
        """As with Keras, also beside a folder that has a name of a SavedModel's."""
        Path("photos/assets").mkdir(parents=True)
        Path("photos/assets/cat.jpg").write_bytes(b"meow")
        callback = kept.ModelCheckpoint("photos/", name="m", keep_local=1)
        fit(own_model, data, callback, AtTheEnd(lambda: change(own_model)), epochs=2)
        assert files("photos") == {
            "assets/cat.jpg": b"meow", **files(callback.versions[-1].download("out"))
        }  # fmt: skip
        assert leftovers("photos") == []

    def test_the_working_directory(self, data, own_model, monkeypatch):
        Path("here").mkdir()
        monkeypatch.chdir("here")
        callback = kept.ModelCheckpoint(".", name="m", store="../store", save_freq=2)
        fit(own_model, data, callback, AtTheEnd(lambda: change(own_model)))
        assert files(".") == files(callback.versions[-1].download("../out"))
        assert len(callback.versions) == 2
        assert os.getcwd() == os.path.realpath("../here")

    def test_training_is_not_changed_by_it(self, data):
        models = [make_model(), make_model()]
        for model, callbacks in zip(models, ([], [kept.ModelCheckpoint("m")]), strict=True):
            keras.utils.set_random_seed(1)
            fit(model, data, *callbacks, epochs=2)
        assert_same_state(*models)

    def test_what_cannot_be_loaded_says_what_to_do(self, own_model):
        callback = kept.ModelCheckpoint("m", name="m")
        play([callback], [{}], model=own_model)
        with pytest.raises(InvalidInput, match=r"tf\.saved_model\.load\(folder\)"):
            callback.versions[0].load_model()
        with pytest.raises(InvalidInput, match="its weights cannot be loaded"):
            callback.versions[0].load_weights(own_model)

    def test_it_is_said_once_that_it_is_written_on_the_training_thread(
        self, own_model, capsys, monkeypatch
    ):
        monkeypatch.setattr(messages, "_said", set())
        for _ in range(2):
            play([kept.ModelCheckpoint("m", name="m")], [{}], model=own_model)
        assert capsys.readouterr().out.count("on the training thread: a SavedModel") == 1

    def test_there_is_no_resuming(self):
        with pytest.raises(InvalidCheckpoint, match=r"a SavedModel cannot be resumed"):
            kept.ModelCheckpoint("m", name="m", resume=True)

    @on_tensorflow
    def test_options_are_passed_on(self, own_model):
        import tensorflow as tf

        options = tf.saved_model.SaveOptions(save_debug_info=True)
        play([kept.ModelCheckpoint("with", options=options)], [{}], model=own_model)
        play([kept.ModelCheckpoint("without", options=None)], [{}], model=own_model)
        assert [Path(name, "debug").exists() for name in ("with", "without")] == [True, False]


@on_tensorflow
class TestTensorFlowCheckpoint:
    @pytest.mark.parametrize("filepath", ["w", "w-{epoch:02d}-{loss:.2f}", "cp-{epoch:04d}.ckpt"])
    def test_is_loaded_back(self, data, model, filepath):
        callback = kept.ModelCheckpoint(f"new/{filepath}", "loss", save_weights_only=True, name="m")
        fit(model, data, callback, epochs=2)
        assert callback.versions[1].metadata["format"] == "tf_checkpoint"
        assert files(callback.versions[1].download("out")).items() <= files("new").items()
        other = make_model(seed=2)
        callback.versions[1].load_weights(other)
        assert_same_state(other, model)
        assert leftovers(".") == []

    def test_of_another_model_is_refused(self, model):
        callback = kept.ModelCheckpoint("w", save_weights_only=True, name="m")
        play([callback], [{}], model=model)
        other = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3), keras.layers.Dense(9)])
        with pytest.raises((InvalidInput, ValueError)):
            callback.versions[0].load_weights(other)

    def test_options_are_passed_on(self, model, monkeypatch):
        import tensorflow as tf

        options = tf.train.CheckpointOptions()
        real, seen = tf.train.Checkpoint.write, []

        def write(self, path, options=None):
            seen.append(options)
            return real(self, path, options=options)

        monkeypatch.setattr(tf.train.Checkpoint, "write", write)
        callback = kept.ModelCheckpoint("w", save_weights_only=True, options=options, name="m")
        play([callback], [{}], model=model)
        assert seen == [options]


@pytest.mark.parametrize(
    ("filepath", "weights_only"),
    [("m.keras", False), ("m.h5", False), ("m.weights.h5", True)],
)
def test_options_are_refused_where_the_format_takes_none(filepath, weights_only):
    kept.ModelCheckpoint(filepath, save_weights_only=weights_only, options=None)
    with pytest.raises(InvalidCheckpoint, match=r"takes no options\..*Received: options='fast'"):
        kept.ModelCheckpoint(filepath, save_weights_only=weights_only, options="fast")


@on_tensorflow
@pytest.mark.parametrize("weights_only", [False, True])
def test_options_of_the_wrong_type_are_refused(weights_only):
    import tensorflow as tf

    wrong = tf.saved_model.SaveOptions() if weights_only else tf.train.CheckpointOptions()
    right = "train.CheckpointOptions" if weights_only else "saved_model.SaveOptions"
    with pytest.raises(InvalidCheckpoint, match=rf"options is a tf\.{right} or None"):
        kept.ModelCheckpoint("m", save_weights_only=weights_only, options=wrong)


@pytest.mark.skipif(FRAMEWORK != "torch", reason="of torch")
def test_torch_has_no_saved_model():
    with pytest.raises(InvalidCheckpoint, match=r"must end in \.keras here, such as 'm\.keras'"):
        kept.ModelCheckpoint("m")


@pytest.mark.skipif(FRAMEWORK != "jax", reason="of JAX")
def test_without_tensorflow_there_is_no_saved_model(monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidCheckpoint, match="TensorFlow, which writes it, is not installed"):
        kept.ModelCheckpoint("m-{epoch:02d}-{val_loss:.2f}")


@pytest.mark.skipif(FRAMEWORK == "tensorflow", reason="TensorFlow has them")
def test_tensorflow_checkpoints_are_of_tensorflow():
    with pytest.raises(InvalidCheckpoint, match=f"{FRAMEWORK} has no TensorFlow checkpoints"):
        kept.ModelCheckpoint("w-{epoch:02d}", save_weights_only=True)
