"""kept.OrbaxCheckpoint: Orbax saves, and each step that it has finished is a version."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import kept
from kept import workspace
from kept.errors import InvalidCheckpoint, InvalidInput, SaveFailed
from kept.sync.outbox.outbox import Outbox
from kept.training.callbacks import orbax_checkpoint, orbax_versions
from kept.training.callbacks.orbax_engine import SavedStep
from tests.helpers import tree

pytest.importorskip("orbax.checkpoint")
pytestmark = [
    pytest.mark.skipif(not hasattr(keras.callbacks, "OrbaxCheckpoint"), reason="an older Keras"),
    pytest.mark.filterwarnings("ignore:Sharding info not provided"),
]

WIDE = 256


def make_model():
    """A frozen base and a head, both of whose names stay the same when Keras loads the model."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((WIDE,))
    base = keras.layers.Dense(WIDE, name="base", trainable=False)
    model = keras.Model(inputs, keras.layers.Dense(4, name="head")(base(inputs)), name="small")
    model.compile(keras.optimizers.Adam(name="adam"), "mse")
    return model


def fit(model, *callbacks, epochs, initial_epoch=0):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(8, n)).astype("float32") for n in (WIDE, 4))
    model.fit(
        x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[*callbacks],
        epochs=epochs, initial_epoch=initial_epoch,
    )  # fmt: skip


def values(model):
    held = [*model.variables, *model.optimizer.variables]
    return {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in held}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for path, value in one.items():
        np.testing.assert_array_equal(value, other[path], err_msg=path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A fit of five epochs, all of whose steps stay in Orbax's folder."""
    folder = tmp_path_factory.mktemp("orbax")
    store, committed = kept.open_store(folder / "store"), []
    callback = kept.OrbaxCheckpoint(
        folder / "run", "loss", store=store, name="m", max_to_keep=None, aliases=["mine"],
        metadata={"owner": "me"}, on_commit=committed.append,
    )  # fmt: skip
    model = make_model()
    fit(model, callback, epochs=5)
    return SimpleNamespace(
        folder=folder, directory=folder / "run", store=store, model=model, callback=callback,
        committed=committed,
    )  # fmt: skip


def test_on_commit_gets_each_version(run):
    assert run.committed == run.store.versions("m")


def test_each_step_is_a_version_with_its_aliases_and_metadata(run):
    assert [v.aliases for v in run.store.versions("m")] == [
        *((f"epoch_{n}",) for n in range(4)),
        ("latest", "best", "epoch_4", "mine"),
    ]
    assert run.callback.versions == run.store.versions("m")
    assert (run.callback.name, run.callback.store) == ("m", run.store)
    for epoch, version in enumerate(run.callback.versions):
        held = version.metadata
        assert (held["epoch"], held["batch"], held["step"]) == (epoch, None, 2 * (epoch + 1))
        assert (held["monitor"], held["mode"]) == ("loss", "min")
        assert held["metrics"] == {"loss": held["value"]}
        assert (held["format"], held["owner"]) == ("orbax", "me")
        assert held["framework"] == keras.backend.backend()
        assert held["orbax"]["step"] == epoch
        assert version.verify().problems == []


def test_what_is_given_back_is_what_orbax_wrote(run, tmp_path):
    run.store["m:epoch_3"].download(tmp_path / "back")
    assert tree(tmp_path / "back" / "3") == tree(run.directory / "3")


def test_a_run_continues_from_what_is_given_back(run, tmp_path):
    run.store["m:epoch_2"].download(tmp_path / "back")
    loaded = keras.saving.load_model(tmp_path / "back")
    assert int(loaded.optimizer.iterations) == 6
    again = kept.OrbaxCheckpoint(
        tmp_path / "back", "loss", store=run.store, name="again", max_to_keep=None
    )
    fit(loaded, again, epochs=5, initial_epoch=3)
    assert_equal(values(loaded), values(run.model))
    other = make_model()
    other.load_weights(tmp_path / "back")
    loaded, trained = values(other), values(run.model)
    assert_equal(loaded, {path: trained[path] for path in loaded})
    # The step that was given back is an earlier step of this folder, and no version of this name.
    assert [v.metadata["epoch"] for v in again.versions] == [2, 3, 4]
    assert run.store["again:v0"].digest == run.store["m:epoch_2"].digest


def test_loading_says_how_a_step_of_orbax_is_loaded(run):
    for load in (
        run.store.version("m").load_model,
        lambda: run.store.version("m").load_weights(run.model),
    ):
        with pytest.raises(InvalidInput, match=r"m:v4 holds a step of Orbax\. Use download"):
            load()


def test_keras_and_orbax_take_what_is_given_back(run, tmp_path):
    from orbax.checkpoint import v1 as orbax

    run.store.version("m").download(tmp_path / "back")
    keras_own = keras.callbacks.OrbaxCheckpoint(str(tmp_path / "back"))
    assert keras_own.checkpointer.latest.step == 4
    keras_own.checkpointer.close()
    found = orbax.load_checkpointables(tmp_path / "back" / "4", {"pytree": None})["pytree"]
    kernel = np.asarray(found["trainable_variables"]["head"]["kernel"])
    np.testing.assert_array_equal(kernel, values(run.model)["head/kernel"])


def test_a_frozen_base_is_stored_once(run):
    one, *later = (version.metadata["bytes_new"] for version in run.callback.versions)
    trained = 4 * 3 * (WIDE * 4 + 4)  # the head and two moments of Adam
    assert one <= run.callback.versions[0].size
    assert max(later) <= 1.25 * trained  # Orbax's own notes are small, and so is this head
    assert one + sum(later) <= 1.05 * (one + 4 * trained)


def test_a_folder_of_orbax_is_known_by_its_saves(run):
    assert kept.log_orbax(run.directory, "m", run.store) == []
    taken = kept.log_orbax(run.directory, "taken", run.store)
    assert [v.aliases for v in taken] == [
        ("latest", "best", f"epoch_{n}", "mine") for n in range(5)
    ]


def test_max_to_keep_of_orbax_deletes_no_version(tmp_path):
    model = make_model()
    callback = kept.OrbaxCheckpoint(tmp_path / "run", "loss", name="m", save_freq=1)
    held = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: held.append(values(callback.model)["head/kernel"])
    )
    fit(model, callback, record, epochs=3)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["6"]
    names = [f"epoch_{epoch}_batch_{batch}" for epoch in range(3) for batch in range(2)]
    assert [v.aliases[-1] for v in callback.versions] == names
    for number, version in enumerate(callback.versions):
        back = version.download(tmp_path / f"back{number}")
        loaded = keras.saving.load_model(back)
        np.testing.assert_array_equal(values(loaded)["head/kernel"], held[number])


def losses(callback, model, numbers, *, per_batch=False):
    """Run hooks whose loss is given, and no training."""
    callback.set_params({"epochs": len(numbers)})
    callback.set_model(model)
    callback.on_train_begin()
    for n, loss in enumerate(numbers):
        callback.on_epoch_begin(n)
        callback.on_train_batch_end(0, {"loss": loss})
        callback.on_epoch_end(n, {"loss": loss})
    callback.on_train_end()
    return [v.metadata["epoch"] for v in callback.versions]


@pytest.fixture(scope="module")
def model():
    built = make_model()
    built.optimizer.build(built.trainable_variables)
    return built


@pytest.mark.parametrize("save_freq", ["epoch", 1])
def test_save_best_only_ignores_a_nan(tmp_path, model, save_freq):
    callback = kept.OrbaxCheckpoint(
        tmp_path / "run", "loss", save_best_only=True, save_freq=save_freq
    )
    assert losses(callback, model, [float("nan"), 3.0, 4.0, 2.0]) == [1, 3]
    assert callback.best == 2.0


def test_a_value_below_the_threshold_is_not_best(tmp_path, model):
    callback = kept.OrbaxCheckpoint(
        tmp_path / "run", "loss", initial_value_threshold=1.0, save_on_background=False
    )
    assert losses(callback, model, [3.0, 2.0]) == [0, 1]
    assert [v.aliases for v in callback.versions] == [("epoch_0",), ("latest", "epoch_1")]


def test_keep_decides_which_versions_stay(tmp_path, model):
    callback = kept.OrbaxCheckpoint(
        tmp_path / "run", "loss", name="m", keep=kept.Keep(last=1, best=1)
    )
    losses(callback, model, [1.0, 2.0, 3.0])
    assert [v.metadata["epoch"] for v in callback.store.versions("m")] == [0, 2]


def test_a_mirror_gets_each_version(tmp_path, model):
    callback = kept.OrbaxCheckpoint(tmp_path / "run", "loss", name="m", mirror=tmp_path / "mirror")
    losses(callback, model, [1.0, 2.0])
    mirrored = kept.open_store(tmp_path / "mirror").versions("m")
    assert [v.digest for v in mirrored] == [v.digest for v in callback.versions]


@pytest.mark.any_framework
def test_steps_arrive_in_object_storage_and_are_not_taken_twice(tmp_path, model, s3):
    def run(loss):
        callback = kept.OrbaxCheckpoint(
            tmp_path / "run", "loss", name="m", store=s3, max_to_keep=None
        )
        return losses(callback, model, loss)

    assert run([2.0, 1.0]) == [0, 1]
    assert run([]) == []
    store = kept.open_store(s3)
    assert store["m:best"].aliases == ("latest", "best", "epoch_1")
    store["m:epoch_0"].download(tmp_path / "back")
    assert tree(tmp_path / "back" / "0") == tree(tmp_path / "run" / "0")
    assert not os.path.exists(Outbox().folder)


SCRIPT = """
import os
os.environ["KERAS_BACKEND"] = "jax"
import keras, numpy as np, kept

class Fails(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise RuntimeError("of the user")

inputs = keras.Input((4,))
model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
model.compile("adam", "mse")
saver = kept.OrbaxCheckpoint("run", "loss", name="m", store="store", max_to_keep=None)
model.fit(np.ones((4, 4)), np.ones((4, 1)), epochs=3, verbose=0, callbacks=[saver, Fails()])
"""


@pytest.mark.integration
@pytest.mark.any_framework
def test_a_fit_that_fails_loses_no_step_that_it_has_saved():
    """Orbax alone fails to finish it: its thread pools are shut down by then."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True
    )
    assert ended.stderr.endswith("RuntimeError: of the user\n")
    assert [v.aliases for v in kept.open_store("store").versions("m")] == [
        ("epoch_0",),
        ("latest", "best", "epoch_1"),
    ]


def test_the_next_run_takes_what_a_killed_one_left(tmp_path, model, monkeypatch, capsys):
    killed = kept.OrbaxCheckpoint(tmp_path / "run", "loss", name="m", max_to_keep=None)
    with monkeypatch.context() as patch:
        patch.setattr(orbax_versions.OrbaxVersions, "submit", lambda *_: None)
        losses(killed, model, [2.0, 1.0])
    (tmp_path / "run" / "7.orbax-checkpoint-tmp").mkdir()
    assert killed.versions == []
    after = kept.OrbaxCheckpoint(tmp_path / "run", "loss", name="m", max_to_keep=1)
    after.set_params({})
    after.set_model(model)
    after.on_train_begin()
    after.wait()
    assert [v.aliases for v in after.versions] == [("epoch_0",), ("latest", "best", "epoch_1")]
    assert "steps of earlier runs become versions of m: 0, 1" in capsys.readouterr().out
    after.on_train_end()
    last = kept.OrbaxCheckpoint(tmp_path / "run", "loss", name="m")
    last.set_params({})
    last.set_model(model)
    last.on_train_begin()
    last.on_train_end()
    assert last.versions == []


def begin(directory, model, store="store", **options):
    """Begin a fit of the artifact m that saves nothing; return its callback."""
    callback = kept.OrbaxCheckpoint(directory, "loss", name="m", store=store, **options)
    callback.set_params({})
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def save_and_end(callback, epoch):
    """Run the hooks of a last epoch, and of the end of the fit."""
    callback.on_epoch_begin(epoch)
    callback.on_epoch_end(epoch, {"loss": 9.0})
    callback.on_train_end()


@pytest.fixture(scope="module")
def left(tmp_path_factory, model):
    """What a process leaves that is killed when Orbax has deleted steps whose commits are slow.

    A copy of a workspace is not locked, like one of a process that has ended.
    """
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            orbax_versions.OrbaxVersions, "submit", lambda v, saved: v._open.append(saved)
        )
        killed = kept.OrbaxCheckpoint(folder / "run", "loss", name="m", store=folder / "unused")
        losses(killed, model, [1.0, 2.0, 3.0])
        killed.wait()
    shutil.copytree(folder / "run", folder / "left")
    assert sorted(step.name for step in (folder / "left").glob("*/[0-9]")) == ["0", "1"]
    assert [step.name for step in (folder / "left").glob("[0-9]")] == ["2"]
    return folder / "left"


@pytest.fixture
def next_run(tmp_path, left, monkeypatch):
    """A folder that a killed process left, whose workspaces are old enough to be removed."""
    monkeypatch.setattr(workspace, "_SWEEP_AFTER", -1.0)
    return shutil.copytree(left, tmp_path / "run")


def test_steps_that_orbax_deleted_before_a_kill_are_taken(next_run, model, capsys):
    after = begin(next_run, model)
    assert "steps of earlier runs become versions of m: 0, 1, 2" in capsys.readouterr().out
    after.wait()
    assert [v.aliases[-1] for v in after.versions] == ["epoch_0", "epoch_1", "epoch_2"]
    assert after.store["m:best"].aliases == ("best", "epoch_0")
    assert after.versions[0].verify().problems == []
    save_and_end(after, 3)
    assert os.listdir(next_run) == ["3"]


def test_a_step_whose_links_are_incomplete_is_not_taken(tmp_path, model, left, monkeypatch):
    real, linked = os.link, []

    def killed(source, target):
        if linked:
            raise KeyboardInterrupt
        linked.append(target)
        real(source, target)

    step = SavedStep(str(shutil.copytree(left / "2", tmp_path / "run" / "2")))
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", killed)
        with pytest.raises(KeyboardInterrupt):
            step.secure()
    assert linked
    os.rename(tmp_path / "run" / "2", tmp_path / "2")
    shutil.copytree(tmp_path / "run", tmp_path / "next")
    after = begin(tmp_path / "next", model)
    after.wait()
    assert after.versions == []
    after.on_train_end()


def test_steps_stay_while_the_versions_cannot_be_read(next_run, model, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(orbax_versions, "known_steps", refuse)
        unread = begin(next_run, model)
    assert "cannot be read now: the disk is on fire" in capsys.readouterr().out
    save_and_end(unread, 3)
    unread.on_train_begin()
    unread.wait()
    assert [v.metadata["epoch"] for v in unread.versions] == [3, 0, 1]
    unread.on_train_end()


def test_a_step_that_orbax_leaves_out_is_reported(tmp_path, model, capsys):
    callback = kept.OrbaxCheckpoint(tmp_path / "run", "loss")
    losses(callback, model, [2.0, 1.0])
    shutil.rmtree(tmp_path / "run" / "0", ignore_errors=True)
    again = kept.OrbaxCheckpoint(tmp_path / "run", "loss")
    assert losses(again, model, [2.0]) == []
    again.wait_until_finished()
    assert "Orbax leaves out step 0" in capsys.readouterr().out


def refuse(*_, **__):
    raise OSError("the disk is on fire")


def test_a_failed_commit_ends_the_fit_or_warns(tmp_path, model, monkeypatch):
    monkeypatch.setattr(kept.Store, "log_artifact", refuse)
    callback = kept.OrbaxCheckpoint(tmp_path / "run", "loss", name="a")
    with pytest.raises(SaveFailed, match=r"run/0 could not become a version in .* on fire"):
        losses(callback, model, [1.0])
    callback = kept.OrbaxCheckpoint(tmp_path / "warned", "loss", name="b", on_error="warn")
    with pytest.warns(UserWarning, match="training continues without it: .* on fire"):
        assert losses(callback, model, [1.0]) == []


def test_a_failed_save_of_orbax_is_not_silent(tmp_path, model, monkeypatch):
    callback = kept.OrbaxCheckpoint(tmp_path / "run", "loss")
    failed = SimpleNamespace(result=refuse)
    monkeypatch.setattr(
        callback.checkpointer._checkpointer, "save_checkpointables_async", lambda *_, **__: failed
    )
    with pytest.raises(SaveFailed, match="on fire"):
        losses(callback, model, [1.0])


def test_a_model_that_keras_does_not_load_is_reported(tmp_path, capsys):
    """The premise is of Keras 3.15: load_model of Orbax's folder leaves its weights out."""
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="inside")
    inputs = keras.Input((4,))
    for name, built in {"inside": inner, "outer": keras.Model(inputs, inner(inputs))}.items():
        built.compile("sgd", "mse")
        losses(kept.OrbaxCheckpoint(tmp_path / name, "loss"), built, [1.0])
    assert capsys.readouterr().out.count("the Sequential model 'inside' in a folder of Orbax") == 1
    kernel = inner.get_weights()[0]
    loaded = keras.saving.load_model(tmp_path / "inside")
    assert not np.array_equal(loaded.get_weights()[0], kernel)
    inner.set_weights([np.zeros_like(weight) for weight in inner.get_weights()])
    inner.load_weights(tmp_path / "inside")
    np.testing.assert_array_equal(inner.get_weights()[0], kernel)


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_several_processes_are_refused_except_on_jax(tmp_path, model, monkeypatch, framework):
    monkeypatch.setattr(orbax_checkpoint, "find_group", lambda *_: SimpleNamespace(size=4))
    callback = kept.OrbaxCheckpoint(tmp_path / "run", "loss")
    monkeypatch.setattr(type(callback._saves.adapter), "framework", framework)
    with pytest.raises(InvalidCheckpoint, match=f"Received: 4 processes on {framework}"):
        losses(callback, model, [1.0])


@pytest.mark.any_framework
def test_what_cannot_work_is_refused_before_training(tmp_path, monkeypatch):
    with pytest.raises(
        TypeError, match=r"'every_n_epochs'; pass keep=kept\.Keep\(every='3 epochs'\)"
    ):
        kept.OrbaxCheckpoint("o", every_n_epochs=3)
    with pytest.raises(TypeError, match=r"no argument 'resume'.*aliases, capture, gc, keep"):
        kept.OrbaxCheckpoint(tmp_path, resume=True)
    with pytest.raises(InvalidCheckpoint, match="a folder on a disk"):
        kept.OrbaxCheckpoint("gs://bucket/run")
    with pytest.raises(InvalidCheckpoint, match=r"on_error is"):
        kept.OrbaxCheckpoint(tmp_path, on_error="ignore")
    callback = kept.OrbaxCheckpoint(tmp_path)
    with pytest.raises(InvalidCheckpoint, match=r"tf_keras has none.*kept\.ModelCheckpoint"):
        callback.set_model(object())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "orbax.checkpoint", None)
        with pytest.raises(ImportError, match="pip install orbax-checkpoint"):
            kept.OrbaxCheckpoint(tmp_path)
    monkeypatch.setattr(orbax_checkpoint, "_BASE", keras.callbacks.Callback)
    with pytest.raises(InvalidCheckpoint, match=r"Keras 3\.15 has one"):
        kept.OrbaxCheckpoint(tmp_path)


def test_a_fit_is_live(tmp_path, monkeypatch):
    from kept.sync.live import live_runs

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    seen = []

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.extend(live_runs(callback.store.location))

    callback = kept.OrbaxCheckpoint("steps", monitor="loss", store="store", name="m")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    data = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    model.fit(*data, batch_size=4, epochs=2, verbose=0, callbacks=[callback, Looks()])
    assert [(run.artifact, run.epoch, run.step) for run in seen] == [("m", 1, 2), ("m", 2, 4)]
    assert live_runs(callback.store.location) == []
