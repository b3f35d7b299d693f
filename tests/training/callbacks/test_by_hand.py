"""Loops that users write, and attributes that they set after construction."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import kept
from kept.errors import InvalidCheckpoint
from tests.training.helpers import change, fit, losses, play


def epochs(callback, *values, **logs):
    """Call on_epoch_end alone, as hand-written loops do."""
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"val_loss": value, **logs})


def test_set_model_and_on_epoch_end_are_enough(model):
    callback = kept.ModelCheckpoint("m{epoch}.keras", save_best_only=True, name="m")
    callback.set_model(model)
    epochs(callback, 0.5, 0.6, 0.4)
    assert callback.wait()
    assert [v.metadata["epoch"] for v in callback.versions] == [0, 2]
    assert sorted(os.listdir()) == ["kept-store", "m1.keras", "m3.keras"]
    callback.close()


@pytest.mark.any_framework
def test_on_train_batch_end_alone(model):
    callback = kept.ModelCheckpoint("m{batch}.keras", save_freq=2, name="m", monitor="loss")
    callback.set_params({"epochs": 1})
    callback.set_model(model)
    for batch in range(4):
        model.train_on_batch(*[keras.ops.ones((2, n)) for n in (6, 1)])
        callback.on_train_batch_end(batch, {"loss": 0.5})
    callback.close()
    assert [v.metadata["batch"] for v in callback.versions] == [1, 3]


@pytest.mark.any_framework
def test_a_callback_list_without_on_train_begin(model):
    callback = kept.ModelCheckpoint("m{epoch}.keras", name="m")
    hooks = keras.callbacks.CallbackList([callback], model=model, epochs=2)
    for epoch in range(2):
        hooks.on_epoch_begin(epoch)
        change(model)
        hooks.on_epoch_end(epoch, {"val_loss": 0.5})
    callback.close()
    assert len(callback.versions) == 2


def test_a_loop_after_a_fit_and_a_fit_after_a_loop(data, model):
    callback = kept.ModelCheckpoint("m{epoch}.keras", name="m")
    fit(model, data, callback)
    epochs(callback, 0.5)
    fit(model, data, callback)
    assert len(callback.versions) == 3


@pytest.mark.any_framework
def test_two_loops_with_one_model_and_one_name(model):
    for _ in range(2):
        callback = kept.ModelCheckpoint("m.keras", name="m")
        callback.set_model(model)
        change(model)
        epochs(callback, 0.5)
        callback.wait()
    assert len(kept.open_store().versions("m")) == 2


@pytest.mark.any_framework
def test_two_callbacks_of_one_loop_get_names_of_their_own(model):
    callbacks = [kept.ModelCheckpoint(f"{n}.keras") for n in "ab"]
    for callback in callbacks:
        callback.set_model(model)
        epochs(callback, 0.5)
        callback.wait()
    assert callbacks[1].name == f"{callbacks[0].name}_2"


@pytest.mark.any_framework
def test_a_process_that_ends_without_on_train_end_finishes_its_writes():
    code = """
import keras, kept
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
callback = kept.ModelCheckpoint("m{epoch}.keras", name="m")
callback.set_model(model)
for epoch in range(2):
    callback.on_epoch_end(epoch, {"val_loss": 0.5})
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
    assert kept.open_store().version("m").metadata["epoch"] == 1
    assert os.path.exists("m1.keras")
    assert os.path.exists("m2.keras")


@pytest.mark.any_framework
def test_numbers_of_numpy(model):
    callback = kept.ModelCheckpoint("m{epoch:02d}.keras", save_freq=np.int64(2), name="m")
    callback.set_model(model)
    for batch in np.arange(4):
        callback.on_train_batch_end(batch, {"loss": np.float32(0.5)})
    callback.save_freq = "epoch"
    callback.on_epoch_end(np.int64(6), {"val_loss": np.float64(0.5)})
    callback.close()
    assert [v.metadata["batch"] for v in callback.versions] == [1, 3, None]
    assert os.path.exists("m07.keras")


def test_a_part_of_the_trained_model(data):
    """As for models that are wrapped for training; on JAX it has no values within an epoch."""

    class Part(kept.ModelCheckpoint):
        def set_model(self, model):
            super().set_model(model.layers[0])

    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)], name="inner")
    whole = keras.Sequential([inner, keras.layers.Dense(1)])
    whole.compile("sgd", "mse")
    callback = Part("m{epoch}.keras", name="m")
    fit(whole, data, callback, epochs=2)
    assert len(callback.versions) == 2
    loaded = keras.saving.load_model("m2.keras")
    assert loaded.name == "inner"
    for ours, theirs in zip(inner.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.any_framework
def test_the_working_directory_may_change_within_a_fit(model, gate, tmp_path):
    callback = kept.ModelCheckpoint("m{epoch}.keras", name="m")

    def move(epoch, logs):
        (tmp_path / "new").mkdir(exist_ok=True)
        os.chdir(tmp_path / "new")
        gate.open()

    note = keras.callbacks.LambdaCallback(on_epoch_end=move)
    play([callback, note], losses(0.5, 0.4), model=model)
    assert os.path.exists(tmp_path / "m1.keras")
    assert os.listdir(tmp_path / "new") == ["m2.keras"]


class TestSetLater:
    @pytest.mark.any_framework
    def test_filepath_before_a_fit(self, model):
        callback = kept.ModelCheckpoint("never.keras", name="m")
        callback.filepath = "later-{epoch}.keras"
        play([callback], losses(0.5), model=model)
        assert os.path.exists("later-1.keras")
        assert not os.path.exists("never.keras")

    @pytest.mark.any_framework
    def test_filepath_and_format_within_a_fit(self, model):
        callback = kept.ModelCheckpoint("a-{epoch}.keras", name="m")

        def change_format(epoch, logs):
            if epoch == 0:
                callback.filepath, callback.save_weights_only = "b-{epoch}.weights.h5", True

        note = keras.callbacks.LambdaCallback(on_epoch_end=change_format)
        play([callback, note], losses(0.5, 0.4), model=model)
        assert [v.metadata["format"] for v in callback.versions] == ["keras", "weights.h5"]
        assert os.path.exists("a-1.keras")
        assert os.path.exists("b-2.weights.h5")

    def test_to_a_folder_and_back(self, model):
        if keras.backend.backend() == "torch":
            pytest.skip("Keras has no SavedModel there")
        callback = kept.ModelCheckpoint("a-{epoch}.keras", name="m")
        callback.filepath = "b-{epoch}"
        play([callback], losses(0.5), model=model)
        callback.filepath = "c-{epoch}.keras"
        play([callback], losses(0.4), model=model)
        assert os.path.exists("b-1/saved_model.pb")
        assert "stall_seconds" in callback.versions[1].metadata
        assert "snapshot_bytes" in callback.versions[1].metadata

    @pytest.mark.any_framework
    @pytest.mark.parametrize("bad", ["a.kears", "", "a-{batch}.keras", "s3://b/a.keras"])
    def test_a_bad_filepath_is_an_error_of_the_next_hook(self, model, bad):
        callback = kept.ModelCheckpoint("a-{epoch}.keras", name="m")
        callback.filepath = bad
        with pytest.raises(InvalidCheckpoint, match="filepath"):
            play([callback], losses(0.5), model=model)
        callback.filepath = "b-{epoch}.keras"
        play([callback], losses(0.5), model=model)
        assert os.path.exists("b-1.keras")

    @pytest.mark.any_framework
    def test_monitor_and_save_best_only_and_save_freq(self, model):
        callback = kept.ModelCheckpoint("a.keras", name="m")
        callback.monitor, callback.save_best_only, callback.save_freq = "loss", True, 1
        play([callback], [{"loss": 0.5}, {"loss": 0.6}], model=model)
        assert len(callback.versions) == 1
        assert callback.versions[0].metadata["monitor"] == "loss"

    @pytest.mark.any_framework
    def test_mode_and_monitor_op(self, model):
        for name, value in (("mode", "max"), ("monitor_op", keras.ops.greater)):
            callback = kept.ModelCheckpoint("a.keras", name=name, save_best_only=True)
            setattr(callback, name, value)
            play([callback], losses(0.5, 0.4, 0.6), model=model)
            assert [v.metadata["epoch"] for v in callback.versions] == [0, 2], name

    @pytest.mark.any_framework
    @pytest.mark.parametrize(
        ("op", "saved"),
        [
            (np.less, [0, 3]),
            (lambda new, best: new <= best, [0, 1, 3]),
            (lambda new, best: new < best - 0.2, [0]),
            (lambda new, best: np.array([new < best + 1]), [0, 1, 2, 3]),
        ],
    )
    def test_the_function_monitor_op_decides_as_in_keras(self, model, op, saved):
        callback = kept.ModelCheckpoint("a.keras", name="m", save_best_only=True)
        callback.monitor_op = op
        play([callback], losses(0.5, 0.5, 0.6, 0.4, float("nan")), model=model)
        assert [v.metadata["epoch"] for v in callback.versions] == saved
        assert callback.best == (0.5 if saved == [0] else 0.4)
