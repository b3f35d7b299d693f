"""The same on tf_keras: its own class, every checkpoint a version, its own arguments."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import kept
from kept import messages
from kept.errors import InvalidCheckpoint, InvalidInput, SaveFailed
from tests.training.helpers import by_alias, epochs_of, leftovers, make_data, make_model

if keras.backend.backend() != "tensorflow":
    pytest.skip("tf_keras is TensorFlow's", allow_module_level=True)

import tensorflow as tf
import tf_keras


@pytest.fixture
def legacy():
    tf_keras.utils.set_random_seed(1)
    model = tf_keras.Sequential(
        [
            tf_keras.Input((6,)),
            tf_keras.layers.Dense(4, activation="relu"),
            tf_keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def fit(model, *callbacks, epochs=2, **options):
    x, y = make_data()
    options = {"batch_size": 10, "validation_split": 0.5, "verbose": 0} | options
    return model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **options)


def checkpoint(filepath="m.keras", **options):
    return kept.tf_keras.ModelCheckpoint(filepath, name="m", **options)


def assert_same(model, loaded):
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_optimizer_of_the_old_kind(legacy):
    """Its variables are a method: the look at the free space ended the fit."""
    legacy.compile(tf_keras.optimizers.legacy.Adam(), "binary_crossentropy")
    callback = checkpoint()
    fit(legacy, callback)
    assert epochs_of(callback.versions) == [0, 1]


@pytest.mark.parametrize("filepath", ["m.keras", "m.h5", "m.weights.h5"])
def test_versions_are_what_tf_keras_saves(legacy, filepath):
    callback = checkpoint(filepath, save_weights_only="weights" in filepath)
    fit(legacy, callback)
    assert isinstance(callback, tf_keras.callbacks.ModelCheckpoint)
    assert not isinstance(callback, keras.callbacks.Callback)
    assert epochs_of(callback.versions) == [0, 1]
    assert (
        Path(filepath).read_bytes()
        == (callback.versions[1].download("out") / filepath).read_bytes()
    )
    if "weights" in filepath:
        loaded = tf_keras.models.clone_model(legacy)
        callback.versions[1].load_weights(loaded)
    else:
        if filepath.endswith(".h5"):
            with pytest.raises(InvalidInput, match=r"load_model\(safe_mode=False\)"):
                callback.versions[1].load_model()
        loaded = callback.versions[1].load_model(safe_mode=not filepath.endswith(".h5"))
        assert isinstance(loaded, tf_keras.Model)
        assert int(loaded.optimizer.iterations) == int(legacy.optimizer.iterations)
    assert_same(legacy, loaded)
    assert leftovers(".") == []


def test_saved_models_are_loaded_back(legacy):
    options = tf.saved_model.SaveOptions(save_debug_info=True)
    callback = checkpoint("m-{epoch:02d}-{val_loss:.2f}", options=options)
    fit(legacy, callback)
    with pytest.raises(InvalidInput, match=r"load_model\(safe_mode=False\)"):
        callback.versions[1].load_model()
    loaded = callback.versions[1].load_model(safe_mode=False)
    assert_same(legacy, loaded)
    assert any("debug" in file.path for file in callback.versions[1].files)
    assert len([path for path in Path().glob("m-*") if path.is_dir()]) == 2


@pytest.mark.parametrize("filepath", ["w/cp", "w/cp-{epoch:04d}.ckpt", "w/cp.h5"])
def test_weights_of_keras_2(legacy, filepath):
    callback = checkpoint(filepath, save_weights_only=True)
    fit(legacy, callback)
    loaded = tf_keras.models.clone_model(legacy)
    callback.versions[1].load_weights(loaded)
    assert_same(legacy, loaded)
    loaded = tf_keras.models.clone_model(legacy)
    last = filepath.format(epoch=2)
    loaded.load_weights(last)
    assert_same(legacy, loaded)
    if not filepath.endswith("h5"):
        assert tf.train.latest_checkpoint("w") == last
    with pytest.raises(InvalidInput, match="holds weights only"):
        callback.versions[1].load_model()


def test_options_of_the_wrong_type_are_refused():
    with pytest.raises(InvalidCheckpoint, match=r"options is a tf\.train\.CheckpointOptions"):
        checkpoint("w", save_weights_only=True, options=tf.saved_model.SaveOptions())


def test_metadata_and_aliases(legacy):
    callback = checkpoint("m-{epoch:02d}-{val_loss:.2f}.keras", monitor="val_accuracy")
    history = fit(legacy, callback, epochs=3).history
    told = callback.versions[-1].metadata
    assert told["metrics"] == {name: values[-1] for name, values in history.items()}
    assert (told["mode"], told["framework"], told["step"]) == ("max", "tensorflow", 6)
    assert told["keras_version"] == tf_keras.__version__
    best = int(np.argmax(history["val_accuracy"]))
    assert by_alias(callback.store, "m") == {
        "latest": 2, "best": best, "epoch_0": 0, "epoch_1": 1, "epoch_2": 2
    }  # fmt: skip
    names = [f"m-{n:02d}-{loss:.2f}.keras" for n, loss in enumerate(history["val_loss"], 1)]
    assert sorted(path.name for path in Path().glob("*.keras")) == names


def test_save_best_only_saves_what_is_better(legacy):
    legacy.optimizer.learning_rate = 0.0
    callback = checkpoint(save_best_only=True)
    fit(legacy, callback, epochs=3)
    assert epochs_of(callback.versions) == [0]


def test_batches_with_steps_per_execution(legacy):
    legacy.compile("adam", "binary_crossentropy", steps_per_execution=2)
    callback = checkpoint("m-{epoch}-{batch}.keras", save_freq=2, monitor="loss")
    fit(legacy, callback, validation_split=0.0)
    assert [set(v.aliases) - {"best", "latest"} for v in callback.versions] == [
        {"epoch_0_batch_1"}, {"epoch_0_batch_3"}, {"epoch_1_batch_1"}, {"epoch_1_batch_3"}
    ]  # fmt: skip


def test_period_and_load_weights_on_restart(legacy):
    callback = checkpoint("ck/m.weights.h5", save_weights_only=True, period=2)
    fit(legacy, callback, epochs=5)
    assert epochs_of(callback.versions) == [1, 3]
    before = legacy.get_weights()
    legacy.load_weights("ck/m.weights.h5")
    saved = legacy.get_weights()
    legacy.set_weights(before)
    again = checkpoint("ck/m.weights.h5", save_weights_only=True, load_weights_on_restart=True)
    seen = []
    note = tf_keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(legacy.get_weights())
    )
    fit(legacy, again, note, epochs=1)
    assert all(np.array_equal(a, b) for a, b in zip(seen[0], saved, strict=True))


def test_the_best_value_carries_over(legacy):
    first = checkpoint(monitor="loss", save_best_only=True)
    fit(legacy, first)
    best = first.best
    second = checkpoint(monitor="loss", save_best_only=True)
    legacy.optimizer.learning_rate = 0.0
    fit(legacy, second, epochs=1)
    assert second.best <= best


def test_saves_by_the_clock(legacy):
    callback = checkpoint("m-{val_loss:.2f}.keras", save_every=0.000001)
    fit(legacy, callback, epochs=1)
    assert [set(v.aliases) - {"latest", "best"} for v in callback.versions] == [
        {"epoch_0_batch_0"}, {"epoch_0_batch_1"}, {"epoch_0"}
    ]  # fmt: skip


def test_a_save_that_fails_is_raised(legacy):
    callback = checkpoint("out/m.keras")
    Path("out").write_text("in the way")
    with pytest.raises((SaveFailed, OSError)):
        fit(legacy, callback)


def test_it_is_said_once_that_files_are_written_on_the_training_thread(legacy, capsys, monkeypatch):
    monkeypatch.setattr(messages, "_said", set())
    fit(legacy, checkpoint())
    fit(legacy, checkpoint())
    assert (
        capsys.readouterr().out.count("training thread") <= 1
    )  # once for the process, here or in an earlier test


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"resume": "m:v0"}, "on Keras 3 only"),
        ({"state_of": []}, "on Keras 3 only"),
        ({"period": 0}, "period is a number of epochs"),
    ],
)
def test_what_tf_keras_cannot_do_is_refused(options, reason):
    with pytest.raises(InvalidCheckpoint, match=reason):
        checkpoint(**options)


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match="no argument 'perid'"):
        checkpoint(perid=2)
    with pytest.raises(TypeError, match=r"no argument 'period'; pass keep="):
        kept.keras.ModelCheckpoint("m.keras", period=2)


def test_a_model_of_the_other_keras_is_refused_before_training(legacy, data):
    with pytest.raises(InvalidCheckpoint, match=r"Use kept\.tf_keras\.ModelCheckpoint"):
        legacy.fit(*data, callbacks=[kept.keras.ModelCheckpoint("m.keras")], verbose=0)
    with pytest.raises(InvalidCheckpoint, match=r"Use kept\.keras\.ModelCheckpoint"):
        make_model().fit(*data, callbacks=[checkpoint()], verbose=0)


@pytest.fixture
def run(wandb_server):
    import wandb

    with wandb.init(project="p") as run:
        yield run


def own_aliases(versions):
    return [set(version.aliases) - {"latest", "best"} for version in versions]


def test_wandb_has_the_arguments_of_the_page_and_of_tf_keras(run, wandb_server, legacy):
    parameters = inspect.signature(kept.tf_keras.WandbModelCheckpoint).parameters
    assert list(parameters)[:9] == [
        "filepath", "monitor", "verbose", "save_best_only", "save_weights_only", "mode",
        "save_freq", "options", "initial_value_threshold",
    ]  # fmt: skip
    callback = kept.tf_keras.WandbModelCheckpoint("m-{epoch}.keras", period=2)
    assert isinstance(callback, tf_keras.callbacks.ModelCheckpoint)
    fit(legacy, callback, epochs=4)
    versions = wandb_server.versions(f"run_{run.id}_model")
    assert own_aliases(versions) == [{"epoch_1"}, {"epoch_3"}]
    contents = [wandb_server.content(version) for version in versions]
    assert contents == [{f"m-{n}.keras": Path(f"m-{n}.keras").read_bytes()} for n in (2, 4)]
    assert not Path("kept-store").exists()


@pytest.mark.parametrize(
    ("filepath", "weights_only"), [("model-{epoch:02d}-{val_loss:.2f}", False), ("w/cp", True)]
)
def test_wandb_takes_what_is_more_than_a_file(run, wandb_server, legacy, filepath, weights_only):
    callback = kept.tf_keras.WandbModelCheckpoint(filepath, save_weights_only=weights_only)
    fit(legacy, callback, epochs=1)
    (version,) = wandb_server.versions(f"run_{run.id}_model")
    (folder,) = [path for path in Path().iterdir() if path.is_dir()]
    assert wandb_server.content(version) == {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_wandb_saves_nothing_for_an_epoch_that_is_not_better(run, wandb_server, legacy):
    legacy.optimizer.learning_rate = 0.0
    callback = kept.tf_keras.WandbModelCheckpoint("m-{epoch}.keras", save_best_only=True)
    fit(legacy, callback, epochs=3)
    assert own_aliases(wandb_server.versions(f"run_{run.id}_model")) == [{"epoch_0"}]
    assert [path.name for path in Path().glob("m-*")] == ["m-1.keras"]


WHICH = """
import json, sys
{imports}
import kept
import tensorflow as tf
print(json.dumps([
    kept.ModelCheckpoint.__module__,
    issubclass(kept.ModelCheckpoint, tf.keras.callbacks.ModelCheckpoint)
    and issubclass(kept.WandbModelCheckpoint, tf.keras.callbacks.ModelCheckpoint),
    "keras" in sys.modules,
]))
"""


@pytest.mark.parametrize(
    ("legacy", "imports", "expected"),
    [
        ("1", "", ["kept.training.callbacks.tf_model_checkpoint", True, False]),
        ("0", "import tf_keras", ["kept.training.callbacks.tf_model_checkpoint", False, True]),
        ("0", "", ["kept.training.callbacks.model_checkpoint", True, True]),
    ],
    ids=["TF_USE_LEGACY_KERAS", "imported", "Keras 3"],
)
def test_which_keras_is_taken(legacy, imports, expected):
    done = subprocess.run(
        [sys.executable, "-c", WHICH.format(imports=imports)],
        env=os.environ | {"TF_USE_LEGACY_KERAS": legacy},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == expected
