"""What a version is called and what is written down with it."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

import kept
from kept.errors import InvalidCheckpoint
from kept.training import naming
from tests.training.helpers import (
    best_epoch,
    by_alias,
    change,
    epochs_of,
    fit,
    losses,
    make_model,
    play,
)

TIMES = {"stall_seconds", "write_seconds"}


def checkpoint(**options):
    return kept.ModelCheckpoint("m.keras", **options)


@pytest.mark.any_framework
class TestAliases:
    def test_epochs_count_from_0(self, store, data, model):
        fit(model, data, checkpoint(store=store, name="m"), epochs=2)
        assert by_alias(store, "m") == {"epoch_0": 0, "epoch_1": 1, "latest": 1}

    def test_batches_count_from_0(self, store, data, model):
        fit(model, data, checkpoint(store=store, name="m", save_freq=2), epochs=2)
        assert by_alias(store, "m") == {
            "epoch_0_batch_1": 0,
            "epoch_0_batch_3": 1,
            "epoch_1_batch_1": 2,
            "epoch_1_batch_3": 3,
            "latest": 3,
        }

    def test_an_epoch_that_is_trained_again_takes_its_alias_along(self, store, model):
        callback = checkpoint(store=store, name="m")
        play([callback], losses(0.5, 0.4), model=model)
        play([callback], losses(0.3), model=model)
        assert by_alias(store, "m") == {"epoch_1": 1, "epoch_0": 2, "best": 2, "latest": 2}


class TestMetadata:
    @pytest.mark.parametrize("background", [True, False])
    def test_after_an_epoch(self, store, data, model, background):
        callback = checkpoint(store=store, name="m", background=background)
        history = fit(model, data, callback, epochs=2, validation_data=data).history
        metadata = [dict(version.metadata) for version in store.versions("m")]
        for epoch, found in enumerate(metadata):
            times = {key: found.pop(key) for key in TIMES}
            assert all(seconds > 0 for seconds in times.values())
            assert found.pop("bytes_new") > 1000
            assert ("snapshot_bytes" in found) is background
            found.pop("snapshot_bytes", None)
            assert found.pop("weights_norm") > 0
            assert found == {
                "health": "ok",
                "epoch": epoch,
                "batch": None,
                "step": 4 * (epoch + 1),
                "monitor": "val_loss",
                "mode": "min",
                "value": history["val_loss"][epoch],
                "metrics": {key: values[epoch] for key, values in history.items()},
                "format": "keras",
                "framework": keras.backend.backend(),
                "keras_version": keras.__version__,
            }
        assert set(metadata[0]["metrics"]) == {"loss", "accuracy", "val_loss", "val_accuracy"}

    @pytest.mark.any_framework
    def test_after_a_batch(self, data, model):
        callback = checkpoint(save_freq=3, monitor="accuracy")
        seen = []
        note = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: seen.append(dict(logs))
        )
        fit(model, data, note, callback)
        (version,) = callback.versions
        assert (version.metadata["epoch"], version.metadata["batch"]) == (0, 2)
        assert version.metadata["step"] == 3
        assert version.metadata["metrics"] == seen[2]
        assert version.metadata["value"] == seen[2]["accuracy"]
        assert version.metadata["mode"] == "max"

    def test_the_step_is_the_optimizers(self, data, model):
        callback = checkpoint()
        fit(model, data, epochs=2)
        fit(model, data, callback)
        assert callback.versions[0].metadata["step"] == int(model.optimizer.iterations) == 12

    @pytest.mark.skipif(
        keras.backend.backend() == "torch", reason="Keras has no steps_per_execution on torch"
    )
    def test_steps_per_execution(self, data, own_model):
        own_model.compile("sgd", "binary_crossentropy", steps_per_execution=4)
        callback = checkpoint()
        fit(own_model, data, callback)
        assert callback.versions[0].metadata["step"] == 4

    @pytest.mark.any_framework
    def test_without_an_optimizer_there_is_no_step(self):
        bare = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        callback = checkpoint()
        play([callback], [{}], model=bare)
        assert callback.versions[0].metadata["step"] is None

    @pytest.mark.any_framework
    def test_what_json_cannot_hold(self, model):
        logs = {"val_loss": float("nan"), "text": "fine", "shape": [1, 2]}
        callback = checkpoint()
        play([callback], [logs], model=model)
        metadata = callback.versions[0].metadata
        assert metadata["value"] == "nan"
        assert metadata["metrics"] == {"val_loss": "nan", "text": "fine", "shape": [1, 2]}

    def test_snapshot_bytes_are_those_of_the_state(self, data, model):
        callback = checkpoint()
        fit(model, data, callback)
        variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
        size = sum(keras.ops.convert_to_numpy(variable).nbytes for variable in variables)
        assert callback.versions[0].metadata["snapshot_bytes"] == size

    @pytest.mark.parametrize(
        ("filepath", "format"),
        [("m.keras", "keras"), ("m.h5", "h5"), ("m.weights.h5", "weights.h5")],
    )
    def test_format(self, model, filepath, format):
        callback = kept.ModelCheckpoint(filepath, save_weights_only=format == "weights.h5")
        play([callback], [{}], model=model)
        assert callback.versions[0].metadata["format"] == format
        assert filepath in [file.path for file in callback.versions[0].files]
        assert callback.versions[0].type == "model"


@pytest.mark.any_framework
class TestArtifactName:
    def test_default(self, model, capsys):
        callback = checkpoint()
        play([callback], [{}], model=model)
        assert callback.name == f"run_{naming.run_id()}_model"
        assert callback.versions[0].name == callback.name

    def test_default_is_told_once(self, model, capsys, tmp_path):
        for _ in range(2):
            play([checkpoint()], [{}], model=model)
        told = f"kept: versions go to {naming.default_artifact_name()} in {tmp_path / 'kept-store'}"
        assert capsys.readouterr().out.count(told) == 1

    def test_a_given_name_is_not_told(self, model, capsys):
        play([checkpoint(name="m")], [{}], model=model)
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("given", "name"), [("ab12", "run_ab12_model"), ("a b/ü", "run_a-b--_model")]
    )
    def test_of_wandb(self, model, monkeypatch, given, name):
        monkeypatch.setenv("WANDB_RUN_ID", given)
        callback = checkpoint()
        play([callback], [{}], model=model)
        assert callback.name == name

    def test_several_callbacks_of_one_fit_get_names_of_their_own(self, data, model):
        callbacks = [
            kept.ModelCheckpoint("best.keras", save_best_only=True, monitor="loss"),
            kept.ModelCheckpoint("each_{epoch}.keras"),
            kept.ModelCheckpoint("often.weights.h5", save_weights_only=True, save_freq=2),
        ]
        base = naming.default_artifact_name()
        for _ in range(2):  # and the same ones in a second fit
            fit(model, data, *callbacks)
            assert [c.name for c in callbacks] == [base, f"{base}_2", f"{base}_3"]
        assert [len(c.versions) for c in callbacks][1:] == [2, 4]
        for callback in callbacks:
            assert {v.name for v in callback.versions} == {callback.name}

    def test_the_same_name_twice_in_one_fit_is_refused(self, data, model):
        callbacks = [checkpoint(name="m"), kept.ModelCheckpoint("n.keras", name="m")]
        with pytest.raises(InvalidCheckpoint, match=r"name of its own.*Received: name='m'"):
            fit(model, data, *callbacks)

    def test_the_same_name_in_two_stores_is_fine(self, data, model):
        callbacks = [checkpoint(name="m", store=place) for place in ("here", "there")]
        fit(model, data, *callbacks)
        assert [len(c.versions) for c in callbacks] == [1, 1]

    def test_the_same_name_in_one_fit_after_the_other_is_fine(self, data, model):
        for _ in range(2):
            fit(model, data, checkpoint(name="m"))
        assert len(kept.open_store().versions("m")) == 2

    def test_a_fit_that_failed_holds_no_name(self, data, model):
        class Stop(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                raise KeyError("stop")

        failed = checkpoint()
        with pytest.raises(KeyError):
            fit(model, data, failed, Stop())
        callback = checkpoint()
        fit(model, data, callback)
        assert callback.name == failed.name


@pytest.mark.any_framework
class TestGoingOn:
    """A new callback on an artifact that is there, as in a new process."""

    def continued(self, store, *values, **options):
        callback = checkpoint(store=store, save_best_only=True, **options)
        model = make_model()
        change(model)
        play([callback], losses(*values), model=model)
        return callback

    def test_an_artifact_of_that_name(self, store):
        self.continued(store, 0.5, 0.3, name="m")
        assert epochs_of(self.continued(store, 0.4, 0.2, name="m").versions) == [1]
        assert best_epoch(store, "m") == 1
        assert len(store.versions("m")) == 3

    def test_a_third_time(self, store):
        self.continued(store, 0.5, name="m")
        self.continued(store, 0.6, name="m")
        assert self.continued(store, 0.55, name="m").versions == []

    def test_a_run_of_wandb(self, store, monkeypatch):
        monkeypatch.setenv("WANDB_RUN_ID", "abc")
        self.continued(store, 0.3)
        assert self.continued(store, 0.4).versions == []

    def test_a_random_id_and_another_file_start_afresh(self, store):
        self.continued(store, 0.3)
        Path("m.keras").unlink()
        assert epochs_of(self.continued(store, 0.4).versions) == [0]

    def test_saving_all(self, store, model):
        play([checkpoint(store=store, name="m")], losses(0.3), model=model)
        play([checkpoint(store=store, name="m")], losses(0.4), model=model)
        assert by_alias(store, "m") == {"best": 0, "epoch_0": 1, "latest": 1}

    def test_another_metric_or_direction_starts_anew(self, store, model):
        self.continued(store, 0.3, name="m")
        assert epochs_of(self.continued(store, 0.1, name="m", mode="max").versions) == [0]
        callback = checkpoint(store=store, name="m", monitor="loss", save_best_only=True)
        play([callback], [{"loss": 9.0}], model=model)
        assert epochs_of(callback.versions) == [0]

    @pytest.mark.parametrize(("threshold", "saved"), [(0.9, []), (0.2, [1])])
    def test_with_a_threshold_the_harder_one_counts(self, store, threshold, saved):
        self.continued(store, 0.3, name="m")
        options = {"name": "m", "initial_value_threshold": threshold}
        values = (0.4, 0.35) if not saved else (0.25, 0.1)
        assert epochs_of(self.continued(store, *values, **options).versions) == saved

    def test_it_is_told(self, store, capsys):
        self.continued(store, 0.3, name="m")
        self.continued(store, 0.4, name="m")
        assert "save_best_only continues from val_loss 0.30000" in capsys.readouterr().out
