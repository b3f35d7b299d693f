"""Which checkpoints are saved, and which is the best."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

import kept
from kept.errors import InvalidCheckpoint
from tests.training.helpers import (
    best_epoch,
    by_alias,
    epochs_of,
    fit,
    losses,
    make_data,
    make_model,
    play,
)


@pytest.fixture
def best_only(store):
    def make(filepath="best.keras", **options):
        return kept.ModelCheckpoint(filepath, save_best_only=True, store=store, name="m", **options)

    return make


class TestSaveBestOnly:
    def test_an_epoch_that_does_not_improve_logs_nothing(self, best_only, store, model):
        callback = best_only()
        play([callback], losses(0.5, 0.9, 0.8, 0.4), model=model)
        assert epochs_of(callback.versions) == epochs_of(store.versions("m")) == [0, 3]
        assert by_alias(store, "m") == {"epoch_0": 0, "epoch_3": 1, "best": 1, "latest": 1}

    def test_with_the_epoch_in_the_path(self, best_only, model):
        """W&B's callback crashes here: wandb#8842."""
        callback = best_only("m_{epoch:02d}.keras")
        play([callback], losses(0.5, 0.9, 0.4), model=model)
        assert sorted(p.name for p in Path().glob("*.keras")) == ["m_01.keras", "m_03.keras"]
        assert [v.files[-1].path for v in callback.versions] == ["m_01.keras", "m_03.keras"]

    def test_with_an_integer_save_freq(self, best_only, data, model):
        """Keras's callback raises a TypeError at the second save of the first epoch."""
        callback = best_only(monitor="loss", save_freq=1)
        fit(model, data, callback, epochs=2)
        values = [version.metadata["value"] for version in callback.versions]
        assert values
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == len(values)

    def test_the_file_is_that_of_the_best(self, best_only, model):
        callback = best_only()
        play([callback], losses(0.5, 0.4, 0.9), model=model)
        stored = callback.versions[-1].download("out") / "best.keras"
        assert Path("best.keras").read_bytes() == stored.read_bytes()

    def test_equal_is_not_better(self, best_only, model):
        callback = best_only()
        play([callback], losses(0.5, 0.5), model=model)
        assert epochs_of(callback.versions) == [0]

    @pytest.mark.parametrize("first", [float("nan"), float("inf"), float("-inf")])
    def test_nan_and_infinity_are_never_the_best(self, best_only, store, model, first):
        """Keras's callback keeps a NaN as the best and saves nothing after it."""
        callback = best_only()
        play([callback], losses(first, 0.5, float("nan"), 0.4, float("-inf")), model=model)
        assert epochs_of(callback.versions) == [1, 3]
        assert best_epoch(store, "m") == 3

    def test_a_missing_metric_warns_and_saves_but_never_as_the_best(self, best_only, store, model):
        callback = best_only()
        with pytest.warns(UserWarning, match="val_loss, which is not available; saving anyway"):
            play([callback], [{"loss": 0.5}, {"loss": 0.4}], model=model)
        assert epochs_of(callback.versions) == [0, 1]
        assert "best" not in by_alias(store, "m")

    def test_a_metric_that_is_no_number_warns_and_saves(self, best_only, store, model):
        callback = best_only()
        with pytest.warns(UserWarning, match="not a single number"):
            play([callback], losses([0.5, 0.4]), model=model)
        assert epochs_of(callback.versions) == [0]
        assert "best" not in by_alias(store, "m")

    def test_a_metric_that_comes_late(self, best_only, store, model):
        callback = best_only()
        with pytest.warns(UserWarning, match="not available"):
            play([callback], [{}, {"val_loss": 0.5}, {"val_loss": 0.6}], model=model)
        assert epochs_of(callback.versions) == [0, 1]
        assert best_epoch(store, "m") == 1

    def test_the_threshold_has_to_be_beaten(self, best_only, model):
        callback = best_only(initial_value_threshold=0.45)
        play([callback], losses(0.5, 0.45, 0.4), model=model)
        assert epochs_of(callback.versions) == [2]

    def test_nothing_saved_is_no_artifact(self, best_only, store, model):
        callback = best_only(initial_value_threshold=0.1)
        play([callback], losses(0.5), model=model)
        assert callback.versions == store.artifacts() == []
        assert not Path("best.keras").exists()

    def test_a_second_fit_goes_on_with_the_best(self, best_only, model):
        callback = best_only()
        play([callback], losses(0.5), model=model)
        play([callback], losses(0.6, 0.4), model=model, start=1)
        assert epochs_of(callback.versions) == [0, 2]


class TestMode:
    def test_max(self, best_only, store, model):
        callback = best_only(monitor="score", mode="max")
        play([callback], [{"score": 1.0}, {"score": 3.0}, {"score": 2.0}], model=model)
        assert epochs_of(callback.versions) == [0, 1]
        assert best_epoch(store, "m") == 1
        assert callback.versions[0].metadata["mode"] == "max"

    @pytest.mark.parametrize(
        ("monitor", "mode"), [("val_accuracy", "max"), ("loss", "min"), ("mae", "min")]
    )
    def test_auto_asks_the_metric(self, best_only, data, monitor, mode):
        callback = best_only(monitor=monitor)
        fit(make_model(metrics=("accuracy", "mae")), data, callback, validation_data=data)
        assert callback.versions[0].metadata["mode"] == mode

    def test_auto_that_cannot_be_inferred_is_refused_at_the_first_batch(
        self, best_only, data, model
    ):
        batches = []
        count = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: batches.append(batch)
        )
        with pytest.raises(InvalidCheckpoint) as caught:
            fit(model, data, count, best_only(monitor="val_quality"), epochs=3)
        assert batches == [0]
        for part in ("'val_quality'", "mode='max'", "mode='min'", "Received: "):
            assert part in str(caught.value)

    def test_an_unknown_mode_is_auto_as_in_keras(self, best_only, model):
        with pytest.warns(UserWarning, match="mode 'fast' is unknown"):
            callback = best_only(mode="fast")
        play([callback], losses(0.5, 0.6), model=model)
        assert epochs_of(callback.versions) == [0]
        assert callback.versions[0].metadata["mode"] == "min"


class TestSavingAll:
    def test_best_is_there_as_well(self, store, model):
        callback = kept.ModelCheckpoint("m.keras", store=store, name="m")
        play([callback], losses(0.5, float("nan"), 0.4, 0.9), model=model)
        assert epochs_of(callback.versions) == [0, 1, 2, 3]
        assert by_alias(store, "m") == {
            **{f"epoch_{n}": n for n in range(4)},
            "best": 2,
            "latest": 3,
        }

    @pytest.mark.filterwarnings("error:Can save best")
    def test_a_missing_metric_is_no_matter(self, store, model):
        play([kept.ModelCheckpoint("m.keras", store=store, name="m")], [{}, {}], model=model)
        assert by_alias(store, "m") == {"epoch_0": 0, "epoch_1": 1, "latest": 1}

    def test_beside_early_stopping(self, store, data, model):
        """What it restores at the end is not what is in the last checkpoint."""
        callback = kept.ModelCheckpoint("m.keras", store=store, name="m")
        losses_made_up = iter([0.3, 0.4, 0.5, 0.6])

        def say(epoch, logs):
            logs["val_loss"] = next(losses_made_up)

        fit(
            model,
            data,
            keras.callbacks.LambdaCallback(on_epoch_end=say),
            keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True),
            callback,
            epochs=4,
        )
        assert by_alias(store, "m") == {
            **{f"epoch_{n}": n for n in range(3)},
            "best": 0,
            "latest": 2,
        }
        assert model.get_weights()[0].tolist() == (
            store["m:best"].load_model().get_weights()[0].tolist()
        )


class TestSaveFreq:
    def saved(self, model, save_freq, **options):
        """Return (epoch, batch) of every checkpoint of 2 epochs of 4 batches."""
        callback = kept.ModelCheckpoint("m_{epoch}_{batch}.keras", save_freq=save_freq)
        fit(model, make_data(), callback, epochs=2, **options)
        return [(v.metadata["epoch"], v.metadata["batch"]) for v in callback.versions]

    def test_counts_batches_across_epochs(self, model):
        assert self.saved(model, 3) == [(0, 2), (1, 1)]

    @pytest.mark.skipif(
        keras.backend.backend() == "torch", reason="Keras has no steps_per_execution on torch"
    )
    def test_steps_per_execution(self, own_model):
        own_model.compile("adam", "binary_crossentropy", steps_per_execution=2)
        # Keras 3.10 names the first batch of a group, as later versions name the last.
        last = 2 if keras.__version__.startswith("3.10.") else 3
        assert self.saved(own_model, 3) == [(0, last), (1, last)]
        names = [f"m_1_{last + 1}.keras", f"m_2_{last + 1}.keras"]
        assert sorted(p.name for p in Path().glob("*.keras")) == names

    def test_two_fits_with_one_callback(self, data, model):
        callback = kept.ModelCheckpoint("m.keras", save_freq=3)
        fit(model, data, callback)
        fit(model, data, callback)
        steps = [version.metadata["step"] for version in callback.versions]
        assert steps == [3, 6]
