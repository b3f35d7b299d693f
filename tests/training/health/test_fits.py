"""Fits whose weights go wrong: what is stored, printed and kept, and that the training ends."""

import os

import keras
import numpy as np
import pytest

import kept
from kept.errors import InvalidCheckpoint
from kept.store.health.state import health_of
from tests.training.helpers import Gate, by_alias, content, fit, losses, play


class Breaks(keras.callbacks.Callback):
    """Puts NaN into a weight in some epochs, and good values in the others."""

    def __init__(self, *epochs, value=np.nan):
        super().__init__()
        self._epochs, self._value = epochs, value

    def on_epoch_begin(self, epoch, logs=None):
        kernel = self.model.layers[0].kernel
        array = np.full(kernel.shape, 0.1, "float32")
        if epoch in self._epochs:
            array[0, 0] = self._value
        kernel.assign(array)


class Puts(keras.callbacks.Callback):
    """Puts a value into a weight at the end of each epoch."""

    def __init__(self, value):
        super().__init__()
        self._value = value

    def on_epoch_end(self, epoch, logs=None):
        array = np.array(keras.ops.convert_to_numpy(self.model.layers[0].kernel))
        array[0, 0] = self._value
        self.model.layers[0].kernel.assign(array)


class Waits(keras.callbacks.Callback):
    """Waits in each epoch until the checkpoint is written, as in an epoch that takes a while."""

    def __init__(self, callback):
        super().__init__()
        self._callback = callback

    def on_epoch_end(self, epoch, logs=None):
        self._callback.wait()


def checkpoint(filepath="m.keras", **options):
    return kept.ModelCheckpoint(filepath, store="store", name="m", **options)


def states(versions):
    return [health_of(version.record).state for version in versions]


def diverging():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e30), "mse")
    return model


def test_a_fit_that_diverges(data, capsys):
    model = diverging()
    callback = checkpoint(monitor="loss")
    fit(model, data, callback, epochs=3)
    found = health_of(callback.versions[-1].record)
    assert found.state == "unhealthy"
    assert "NaN" in found.findings[0]
    assert "best" not in by_alias(callback.store, "m")
    assert capsys.readouterr().out.count("is unhealthy") == 1


def test_an_unhealthy_version_never_becomes_best(model, capsys):
    callback = checkpoint()
    play([Breaks(1, 2), callback, Waits(callback)], losses(0.5, 0.1, 0.2, 0.4), model=model)
    assert states(callback.versions) == ["ok", "unhealthy", "unhealthy", "ok"]
    assert by_alias(callback.store, "m")["best"] == 3
    assert callback.best == 0.4
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kept")]
    assert printed == [
        "kept: m:v1 is unhealthy: hidden/kernel: 1 of 48 values are NaN. It will not become best",
        "kept: m:v3 is healthy again",
    ]


def test_the_file_of_the_best_is_not_replaced(model, capsys):
    callback = checkpoint(save_best_only=True)
    play([Breaks(1), callback, Waits(callback)], losses(0.5, 0.1), model=model)
    good = callback.store["m:v0"]
    assert states(callback.versions) == ["ok", "unhealthy"]
    assert content("m.keras") == content(good.download("good") / "m.keras")
    assert "It will not become best, and m.keras stays as it is" in capsys.readouterr().out
    assert callback.best == 0.5
    play([Breaks(), callback], losses(0.3), model=model, start=2)
    assert by_alias(callback.store, "m")["best"] == 2
    assert content("m.keras") == content(callback.store["m:v2"].download("new") / "m.keras")


def test_a_later_healthy_value_becomes_best_with_save_best_only(model):
    callback = checkpoint(save_best_only=True)
    play([Breaks(1), callback, Waits(callback)], losses(0.5, 0.1, 0.4), model=model)
    assert states(callback.versions) == ["ok", "unhealthy", "ok"]
    assert by_alias(callback.store, "m")["best"] == 2


def test_stop_ends_the_fit(data, capsys):
    callback = checkpoint(on_health="stop")
    history = fit(diverging(), data, callback, epochs=50)
    assert len(history.epoch) < 50
    assert "Training ends (on_health='stop')" in capsys.readouterr().out


def test_stop_ends_each_fit_that_is_unhealthy(data, capsys):
    model, callback = diverging(), checkpoint(on_health="stop")
    for _ in range(2):
        history = fit(model, data, callback, epochs=50)
        assert len(history.epoch) < 50
    assert capsys.readouterr().out.count("is unhealthy") == 2


def test_a_fit_that_failed_does_not_stop_the_next_one(model, data):
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("no")

    callback = checkpoint(on_health="stop")
    good = model.get_weights()
    with pytest.raises(ValueError, match="no"):
        fit(model, data, Puts(np.nan), callback, Fails())
    callback.wait()
    if keras.backend.backend() == "jax":
        model.jax_state_sync()
    model.set_weights(good)
    history = fit(model, data, callback, epochs=3)
    assert states(callback.versions) == ["unhealthy", "ok", "ok", "ok"]
    assert len(history.epoch) == 3


def test_the_file_of_the_best_is_written_if_the_next_one_is_unhealthy(model, monkeypatch):
    callback, gate = checkpoint(save_best_only=True), Gate(monkeypatch)

    class Opens(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                gate.let_through(1)
                callback.wait()
            elif epoch == 2:  # v1 is being written, and v2 waits
                gate.open()

    play([Breaks(2), callback, Opens()], losses(0.5, 0.4, 0.1), model=model)
    assert states(callback.versions) == ["ok", "ok", "unhealthy"]
    assert by_alias(callback.store, "m")["best"] == 1
    assert content("m.keras") == content(callback.store["m:v1"].download("good") / "m.keras")


def test_stop_ends_no_healthy_fit(model, data):
    history = fit(model, data, checkpoint(on_health="stop"), epochs=3)
    assert len(history.epoch) == 3


def test_off_measures_nothing(model):
    callback = checkpoint(on_health="off")
    play([Breaks(1), callback], losses(0.5, 0.1), model=model)
    assert states(callback.versions) == [None, None]
    assert by_alias(callback.store, "m")["best"] == 1
    assert not {"health", "weights_norm"} & callback.versions[1].metadata.keys()


@pytest.mark.parametrize("value", [True, None, "raise", 3])
def test_another_value_is_refused(value):
    with pytest.raises(InvalidCheckpoint, match="on_health is 'warn', 'stop' or 'off'"):
        checkpoint(on_health=value)


def test_a_rule_does_not_choose_it(model):
    callback = checkpoint()
    play([Breaks(), callback], losses(0.5), model=model)
    artifact = callback.store.artifact("m")
    artifact.set_best("val_loss", "min")
    play([Breaks(1), callback], losses(0.4, 0.1), model=model)
    assert artifact.best().version == "v1"
    assert artifact.best("val_loss", "min").version == "v1"


def test_a_metric_that_is_logged_later_does_not_choose_it(model):
    callback = checkpoint()
    play([Breaks(1), callback], losses(0.5, 0.6), model=model)
    artifact = callback.store.artifact("m")
    good, bad = callback.versions
    good.log_metrics({"test_acc": 0.5})
    artifact.set_best("test_acc", "max")
    bad.log_metrics({"test_acc": 0.9})
    assert artifact.best().version == "v0"


def test_keep_best_does_not_count_it(model):
    callback = checkpoint(keep=kept.Keep(best=1), gc=None)
    play([Breaks(1), callback], losses(0.5, 0.1, 0.9), model=model)
    callback.close()
    assert [version.version for version in callback.store.versions("m")] == ["v0", "v2"]


def test_a_resumed_run_continues_from_the_best_healthy_value(model):
    first = checkpoint(save_best_only=True)
    play([Breaks(1), first], losses(0.5, 0.1), model=model)
    second = checkpoint(save_best_only=True)
    play([Breaks(), second], losses(0.3), model=model)
    assert by_alias(second.store, "m")["best"] == 2
    assert second.best == 0.3


def test_a_run_that_resumes_from_an_unhealthy_version_says_so(own_model, data, capsys):
    own_model.compile("sgd", "mse")  # other losses of torch refuse NaN
    fit(own_model, data, Puts(np.nan), checkpoint())
    capsys.readouterr()
    fit(own_model, data, checkpoint(resume=True), epochs=2)
    printed = capsys.readouterr().out
    assert "kept: m:v0 is unhealthy: hidden/kernel: 1 of 48 values are NaN" in printed
    assert "pass resume='m:vN' to continue from another version" in printed


def test_weights_only(model):
    callback = checkpoint("m.weights.h5", save_weights_only=True)
    play([Breaks(1), callback], losses(0.5, 0.1), model=model)
    assert states(callback.versions) == ["ok", "unhealthy"]


def test_a_save_on_the_training_thread(model):
    callback = checkpoint(background=False)
    play([Breaks(1), callback], losses(0.5, 0.1), model=model)
    assert states(callback.versions) == ["ok", "unhealthy"]
    assert by_alias(callback.store, "m")["best"] == 0


def test_the_same_content_twice_is_judged_by_the_first(model):
    callback = checkpoint()
    play([Breaks(0, 1), callback], losses(0.5, 0.4), model=model)
    assert "best" not in by_alias(callback.store, "m")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf_keras is TensorFlow's")
def test_tf_keras(capsys):
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((6,)), tf_keras.layers.Dense(3, name="d")])
    model.compile("sgd", "mse")

    class LegacyBreaks(tf_keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                kernel = self.model.layers[0].kernel
                kernel.assign(kernel * np.nan)

    callback = kept.tf_keras.ModelCheckpoint(
        "m.keras", store="store", name="m", monitor="loss", on_health="stop"
    )
    history = model.fit(
        np.ones((8, 6)), np.ones((8, 3)), epochs=9, verbose=0, callbacks=[LegacyBreaks(), callback]
    )
    assert states(callback.versions)[:2] == ["ok", "unhealthy"]
    assert len(history.epoch) == 3
    found = health_of(callback.versions[1].record).findings
    assert found[0] == "d/kernel: all 18 values are NaN"
    assert "is unhealthy" in capsys.readouterr().out
    assert os.path.exists("m.keras")
