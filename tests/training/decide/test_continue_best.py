"""With which value save_best_only compares: afresh, or that of the training it continues."""

from pathlib import Path

import keras
import pytest

import kept
from kept.errors import InvalidCheckpoint
from kept.training.destinations import earlier
from tests.training.helpers import by_alias, epochs_of, losses, play

pytestmark = pytest.mark.any_framework


@pytest.fixture
def best_only(store):
    def make(filepath="best.keras", **options):
        options = {"name": "m", "store": store} | options
        return kept.ModelCheckpoint(filepath, save_best_only=True, **options)

    return make


def test_each_fold_has_its_file_and_best_is_the_best_of_all(best_only, model, store, capsys):
    play([best_only("fold0.keras")], losses(0.5, 0.2), model=model)
    second = best_only("fold1.keras")
    play([second], losses(0.9, 0.8), model=model)
    assert Path("fold1.keras").exists()
    assert epochs_of(second.versions) == [0, 1]
    assert by_alias(store, "m")["best"] == 1, "0.2, of the first fold"
    said = capsys.readouterr().out
    assert "starts afresh" in said
    assert "is 0.20000" in said


def test_a_run_that_starts_again_replaces_no_better_file(best_only, model, capsys):
    play([best_only()], losses(0.5, 0.2), model=model)
    before = Path("best.keras").read_bytes()
    second = best_only()
    play([second], losses(0.9, 0.3), model=model)
    assert Path("best.keras").read_bytes() == before
    assert (second.versions, second.best) == ([], 0.2)
    assert "continues from val_loss 0.20000" in capsys.readouterr().out


def test_the_file_of_a_job_that_is_not_the_best_of_its_sweep(best_only, model):
    play([best_only("a.keras")], losses(0.5), model=model)
    play([best_only("b.keras")], losses(0.1), model=model)
    second = best_only("a.keras")
    play([second], losses(0.6, 0.4), model=model)
    assert epochs_of(second.versions) == [1], "0.4 beats the 0.5 of a.keras"


def test_a_file_that_changed_is_no_version(best_only, model):
    play([best_only()], losses(0.2), model=model)
    Path("best.keras").write_bytes(b"another file")
    second = best_only()
    play([second], losses(0.9), model=model)
    assert epochs_of(second.versions) == [0]


def test_a_file_that_cannot_be_read_is_no_version(best_only, model, monkeypatch):
    play([best_only()], losses(0.2), model=model)

    def vanished(*_):
        raise FileNotFoundError

    monkeypatch.setattr(earlier, "holds", vanished)
    second = best_only()
    play([second], losses(0.9), model=model)
    assert epochs_of(second.versions) == [0]


def test_without_a_name_too(best_only, model):
    play([best_only(name=None)], losses(0.2), model=model)
    second = best_only(name=None)
    play([second], losses(0.9), model=model)
    assert second.versions == []


@pytest.mark.filterwarnings("ignore:Can save best")
def test_a_model_without_the_metric_follows_none_with_it(best_only, model):
    callback = best_only()
    play([callback], [{"loss": 1.0}, {"val_loss": 0.5}, {"loss": 0.9}], model=model)
    assert epochs_of(callback.versions) == [0, 1]
    again = best_only()
    play([again], [{"loss": 1.0}], model=model)
    assert again.versions == [], "the file at filepath was measured"


def test_misspelled_names_are_reported_after_the_first_batch(store, model, data, capsys):
    x, y = data
    callback = kept.ModelCheckpoint(
        "m-{val_los:.2f}.keras", monitor="val_lss", mode="min", store=store
    )

    class Stop(Exception):
        pass

    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise Stop

    with pytest.raises(Stop):
        model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[callback, Stops()])
    said = capsys.readouterr().out
    assert "no log has the metric 'val_lss' so far. Did you mean 'val_loss'?" in said
    assert "no log has {val_los} of filepath so far. Did you mean 'val_loss'?" in said


def test_a_misspelled_epoch_is_an_error_at_once(store):
    with pytest.raises(InvalidCheckpoint, match=r"\{epcoh\} is unknown. Did you mean 'epoch'\?"):
        kept.ModelCheckpoint("m-{epcoh}.keras", store=store)


def test_a_resumed_version_without_a_state(best_only, model, store, data):
    model.save("best.keras")
    facts = {"monitor": "val_loss", "mode": "min", "value": 0.1, "epoch": 0}
    store.log_artifact("m", "best.keras", aliases=["best"], metadata=facts)
    before = Path("best.keras").read_bytes()
    for is_there in (True, False):
        callback = best_only(resume=True)
        play([callback], losses(0.9, 0.3), model=model)
        assert (callback.versions, callback.best) == ([], 0.1)
        assert not is_there or Path("best.keras").read_bytes() == before
        Path("best.keras").unlink(missing_ok=True)


def test_an_abbreviated_metric_is_reported(store, model, data, capsys):
    callback = kept.ModelCheckpoint("m.keras", monitor="val_acc", mode="max", store=store)
    play([callback], [{"loss": 1.0, "accuracy": 0.5}], model=model)
    assert "no log has the metric 'val_acc' so far. Did you mean 'val_accuracy'?" in (
        capsys.readouterr().out
    )


def test_a_rule_decides_best_and_save_best_only_follows_its_own_metric(
    best_only, model, store, capsys
):
    play([best_only("a.keras")], losses(0.5, 0.2, 0.1), model=model)
    artifact = store.artifact("m")
    artifact["v1"].log_metrics({"test_acc": 0.9})
    artifact.set_best("test_acc")
    second = best_only("b.keras")
    play([second], losses(0.3, 0.05), model=model)
    assert epochs_of(second.versions) == [0, 1], "a new training starts afresh"
    assert by_alias(store, "m")["best"] == 1
    said = capsys.readouterr().out
    assert "the best val_loss of m so far is 0.10000" in said, "not the 0.2 of m:best"
    assert said.count("follows test_acc (max)") == 1
    second.versions[0].log_metrics({"test_acc": 0.95})
    assert artifact.best().index == 3
