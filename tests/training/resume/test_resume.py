"""What a resumed run restores, what it says, and what it refuses before training starts."""

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import kept
from kept.errors import (
    ArtifactNotFound,
    CannotResume,
    Damaged,
    InvalidCheckpoint,
    InvalidReference,
    NotFound,
)
from kept.training.keras_api import private_fit
from kept.training.resume import rng
from kept.training.resume.state_codec import decode, encode, read_arrays, write_arrays
from tests.training.helpers import Stop, Stopped

BATCHES = 5  # of 8 rows


def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) > 0).astype("float32")


def make(units=8, optimizer="adam", *, seed=1):
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(units, activation="relu"), keras.layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((6,)), *hidden, keras.layers.Dense(1)])
    model.compile(optimizer, "mse", metrics=["mae"])
    if keras.backend.backend() == "tensorflow":  # which shuffles by its seed and nothing else
        set_tensorflow_seed(1)
    return model


def set_tensorflow_seed(seed):
    import tensorflow as tf

    tf.random.set_seed(seed)


def checkpoint(name="m", path="c.weights.h5", **options):
    options = {"save_weights_only": path.endswith(".weights.h5"), "monitor": "loss"} | options
    return kept.ModelCheckpoint(path, name=name, **options)


def fit(model, *callbacks, epochs=3, **options):
    x, y = rows()
    options = {"batch_size": 8, "verbose": 0} | options
    return model.fit(x, y, epochs=epochs, callbacks=[*callbacks], **options)


def values(model):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in model.weights]


def same(model, other):
    return all(np.array_equal(a, b) for a, b in zip(values(model), values(other), strict=True))


def interrupted(after, *callbacks, **options):
    with pytest.raises(RuntimeError, match="stopped by the test"):
        fit(make(), *callbacks, Stop(after), **options)
    for callback in callbacks:
        if isinstance(callback, kept.ModelCheckpoint):
            callback.close()


@pytest.fixture
def straight():
    model = make()
    fit(model)
    return model


@pytest.mark.parametrize("path", ["c.keras", "c.weights.h5"])
@pytest.mark.parametrize("freq", [4, "epoch"])
def test_a_resumed_run_ends_as_the_straight_one(straight, capsys, path, freq):
    interrupted(9, checkpoint(path=path, save_freq=freq))
    model = make(seed=2)
    history = fit(model, checkpoint(path=path, save_freq=freq, resume=True))
    assert same(model, straight)
    assert history.epoch == [0, 1, 2]
    assert int(model.optimizer.iterations) == 3 * BATCHES
    assert model._initial_epoch is None
    where = "with epoch 2" if freq == "epoch" else "in epoch 2, after batch 3"
    assert f"kept: continuing from m:v{int(freq == 4)} {where}" in capsys.readouterr().out


def test_without_a_version_it_starts_at_the_beginning(straight):
    model = make()
    fit(model, checkpoint(resume=True))
    assert same(model, straight)


def test_a_renamed_artifact_is_reported(straight, capsys):
    interrupted(9, checkpoint())
    kept.open_store().rename("m", "old")
    model = make()
    fit(model, checkpoint(resume=True))
    assert same(model, straight)
    assert "m was renamed to old, so this run starts from the begin" in capsys.readouterr().out
    assert [v.index for v in kept.open_store().versions("old")] == [0]


def test_a_run_continues_under_the_new_name(straight, capsys):
    interrupted(9, checkpoint())
    kept.open_store().rename("m", "net")
    model = make()
    fit(model, checkpoint(name="net", resume=True))
    assert same(model, straight)
    assert "continuing from net:v0" in capsys.readouterr().out
    versions = kept.open_store().versions("net")
    assert [v.index for v in versions] == [0, 1, 2]
    assert versions[1].parent.reference == "net:v0"
    assert kept.open_store().versions("m") == []


def test_a_second_fit_goes_on_from_memory():
    interrupted(9, checkpoint())
    callback, model = checkpoint(resume=True), make()
    fit(model, callback)
    history = fit(model, callback, epochs=2)
    assert history.epoch == [0, 1]
    assert int(model.optimizer.iterations) == 5 * BATCHES


def test_a_finished_run_trains_nothing_and_says_so(capsys):
    done = make()
    before = fit(done, checkpoint())
    model = make(seed=2)
    after = fit(model, checkpoint(resume=True))
    assert same(model, done)
    assert after.history == before.history
    assert after.epoch == before.epoch
    assert re.search(r"nothing is left to train.*epoch 3 of 3", capsys.readouterr().out)
    assert [v.index for v in kept.open_store().versions("m")] == [0, 1, 2]
    more = fit(model := make(seed=2), checkpoint(resume=True), epochs=5)
    assert more.epoch == [0, 1, 2, 3, 4]


def test_callbacks_after_the_checkpoint_change_the_logs_for_those_after_them():
    def train(model, *first):
        plateau = keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=10.0)
        return fit(model, *first, plateau).history

    wanted = train(make())
    with pytest.raises(Stopped):
        fit(make(), own := checkpoint(), keras.callbacks.ReduceLROnPlateau(
            "loss", patience=0, min_delta=10.0), Stop(9))  # fmt: skip
    own.close()
    assert train(make(seed=2), checkpoint(resume=True)) == wanted
    assert len(set(wanted["learning_rate"])) == 2, "it did nothing"


def test_a_run_that_stopped_early_stays_stopped(capsys):
    def callbacks(**options):
        stopping = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=10.0)
        return checkpoint(**options), stopping

    fit(make(), *callbacks(), epochs=6)
    own, stopping = callbacks(resume=True)
    history = fit(make(seed=2), own, stopping, epochs=6)
    assert history.epoch == [0, 1]
    assert (stopping.stopped_epoch, stopping.wait) == (1, 1)
    assert "was stopped by a callback" in capsys.readouterr().out


@pytest.mark.any_framework
def test_a_damaged_newest_version_falls_back(capsys):
    interrupted(9, checkpoint(save_freq=2))
    store = kept.open_store()
    newest = store.version("m").manifest
    older = {c.blob for v in store.versions("m")[:-1] for f in v.files for c in f.chunks}
    blob = next(c.blob for f in newest.files for c in f.chunks if c.blob not in older)
    path = Path(store.location) / "blobs" / blob[:2] / blob
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    model = make(seed=2)
    with pytest.raises(Damaged):
        kept.resume(model, "m:v3")
    fit(model, checkpoint(resume=True, save_freq=2))
    said = capsys.readouterr().out
    assert "m:v3 is damaged" in said
    assert "continuing from m:v2" in said
    assert int(model.optimizer.iterations) == 3 * BATCHES


@pytest.mark.any_framework
def test_all_versions_damaged_is_an_error():
    interrupted(9, checkpoint())
    store = kept.open_store()
    shutil.rmtree(Path(store.location) / "manifests")
    with pytest.raises(Damaged, match="All 1 versions"):
        fit(make(), checkpoint(resume=True))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: make(units=9), "another model.*Received: .*kernel.* with the shape"),
        (lambda: make(optimizer="sgd"), "the optimizer Adam.*Received: SGD"),
        (lambda: make(optimizer=keras.optimizers.Adam(amsgrad=True)), "another Adam: it has"),
    ],
)
def test_another_model_or_optimizer_is_refused_before_training(model, message):
    fit(make(), checkpoint(), epochs=1)
    other = model()
    before = values(other)
    with pytest.raises(CannotResume, match="(?s)" + message):
        fit(other, checkpoint(resume=True))
    assert all(np.array_equal(a, b) for a, b in zip(before, values(other), strict=True))


@pytest.mark.any_framework
def test_a_model_that_lacks_a_layer_is_refused():
    fit(make(), checkpoint(), epochs=1)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, activation="relu")])
    model.compile("adam", "mse")
    with pytest.raises(CannotResume, match=r"it has 4 variables\. Received: 2"):
        kept.resume(model, "m")


@pytest.mark.any_framework
def test_a_model_that_is_not_built_is_refused():
    fit(make(), checkpoint(), epochs=1)
    model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(CannotResume, match="not built"):
        kept.resume(model, "m")


@pytest.mark.any_framework
def test_missing_and_new_callbacks_are_told_of(capsys):
    interrupted(9, checkpoint(save_freq=4), keras.callbacks.EarlyStopping("loss"))
    plateau = keras.callbacks.ReduceLROnPlateau("loss")
    fit(make(), checkpoint(save_freq=4, resume=True), plateau)
    said = capsys.readouterr().out
    assert "holds the state of EarlyStopping, and this fit has no such callback" in said
    assert "holds no state of ReduceLROnPlateau" in said


@pytest.mark.any_framework
def test_callbacks_that_only_save_are_not_missed(capsys):
    """kept.resume is for a fit without one, and a run may change from one to the other."""
    interrupted(9, checkpoint(save_freq=4), checkpoint("other", "o.weights.h5"))
    model = make()
    fit(model, kept.resume(model, "m"))
    assert "no such callback" not in capsys.readouterr().out


@pytest.mark.any_framework
def test_callbacks_whose_state_is_not_wanted_are_not_missed(capsys):
    plateau = keras.callbacks.ReduceLROnPlateau("loss")
    stopping = keras.callbacks.EarlyStopping("loss")
    interrupted(9, checkpoint(save_freq=4), plateau, stopping)
    model = make()
    fit(model, kept.resume(model, "m", callbacks=[plateau]), plateau, stopping)
    assert "no such callback" not in capsys.readouterr().out


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a matter of TensorFlow")
def test_a_run_without_a_seed_is_resumed(monkeypatch):
    """What TensorFlow's eager operations draw their seeds from is made with the first seed."""
    monkeypatch.setattr(private_fit, "tensorflow_seeds", lambda: None)
    interrupted(9, checkpoint(save_freq=4))
    model = make(seed=2)
    assert fit(model, checkpoint(save_freq=4, resume=True)).epoch == [0, 1, 2]


class TestKerasSCallbackOfTheSameName:
    """A script that had both drops one: then the other has the name that the first had."""

    pytestmark = pytest.mark.any_framework

    @staticmethod
    def theirs():
        return keras.callbacks.ModelCheckpoint("k.weights.h5", "mae", save_weights_only=True)

    def test_does_not_get_kept_s_state(self, capsys):
        interrupted(9, checkpoint(save_freq=4), self.theirs())
        model, theirs = make(seed=2), self.theirs()
        theirs.best = 7.0
        fit(model, kept.resume(model, "m"), theirs)
        assert theirs.best == 7.0
        assert (
            "holds no state of ModelCheckpoint, which starts without one" in capsys.readouterr().out
        )

    def test_leaves_kept_s_callback_alone(self, capsys):
        interrupted(9, self.theirs(), checkpoint(save_freq=4))
        ours = checkpoint(save_freq=4, resume=True)
        fit(make(seed=2), ours)
        assert ours.versions[-1].metadata["step"] > 8
        assert (
            "holds no state of ModelCheckpoint, which starts without one" in capsys.readouterr().out
        )


@pytest.mark.any_framework
def test_a_version_without_a_state_says_what_is_missing(capsys):
    model = make()
    fit(model, epochs=1)
    model.save_weights("w.weights.h5")
    metadata = {"epoch": 0, "batch": None}
    kept.open_store().log_artifact("m", "w.weights.h5", metadata=metadata)
    other = make(seed=2)
    history = fit(other, checkpoint(resume=True), epochs=3)
    assert history.epoch == [1, 2]
    assert int(other.optimizer.iterations) == 3 * BATCHES
    assert re.search("no state, so random generators, callbacks", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("resume", "error"),
    [("other", NotFound), ("m:nonsense", NotFound), ("m:", InvalidReference)],
)
@pytest.mark.any_framework
def test_a_reference_that_names_nothing(resume, error):
    fit(make(), checkpoint(), epochs=1)
    with pytest.raises(error):
        kept.resume(make(), resume)


@pytest.mark.any_framework
def test_resume_needs_a_name():
    with pytest.raises(InvalidCheckpoint, match="pass name"):
        kept.ModelCheckpoint("c.keras", resume=True)


@pytest.mark.any_framework
def test_an_artifact_that_is_not_there():
    with pytest.raises(ArtifactNotFound, match="none has no version"):
        kept.resume(make(), "none")


@pytest.mark.any_framework
def test_state_of_takes_what_has_a_state():
    with pytest.raises(InvalidCheckpoint, match="Received: TerminateOnNaN"):
        checkpoint(state_of=[keras.callbacks.TerminateOnNaN()])
    stopping = keras.callbacks.EarlyStopping("loss")
    own = checkpoint(state_of=[stopping])
    fit(make(), own, stopping, keras.callbacks.ReduceLROnPlateau("loss"), epochs=1)
    own.versions[-1].download("out")
    names = [n for n, _ in json.loads(Path("out/kept-state.json").read_text())["callbacks"]]
    assert sorted(names) == ["EarlyStopping", "History", "ModelCheckpoint"]


class Bad(keras.callbacks.Callback):
    def get_state(self):
        return object()

    def set_state(self, state):
        pass


@pytest.mark.any_framework
def test_a_state_that_cannot_be_kept_is_an_error_if_the_user_asked_for_it():
    bad = Bad()
    fit(make(), checkpoint(), bad, epochs=1)
    kept.resume(make(), "m")  # the version lacks this state only
    for asked in ({"resume": True}, {"state_of": [bad]}):
        with pytest.raises(kept.KeptError, match="kept cannot write the state of Bad"):
            fit(make(), checkpoint(**asked), bad, epochs=2)


def test_branching_has_a_parent_and_leaves_the_old_artifact_alone(straight):
    old = checkpoint("old", save_freq=4)
    fit(make(), old)
    branch, model = checkpoint("new", save_freq=4, resume="old:v0"), make(seed=2)
    fit(model, branch)
    assert same(model, straight)
    parent = {"reference": "old:v0", "digest": old.versions[0].digest}
    assert [v.metadata["parent"] for v in branch.versions] == [parent] * len(branch.versions)
    assert branch.versions[0].metadata["step"] == 8
    assert len(kept.open_store().versions("old")) == len(old.versions)
    assert "parent" not in old.versions[0].metadata


def test_kept_resume_gives_a_callback_for_fit(straight):
    interrupted(9, checkpoint(save_freq=4))
    model = make(seed=2)
    callback = kept.resume(model, "m:latest")
    assert int(model.optimizer.iterations) == 8
    assert callback.parent["reference"] == "m:v1"
    fit(model, callback)
    assert same(model, straight)


def test_the_best_value_is_restored():
    first = checkpoint("old", monitor="mae", mode="min", save_best_only=True)
    fit(make(), first)
    second = checkpoint("new", monitor="mae", mode="min", save_best_only=True, resume="old")
    fit(make(seed=2), second, epochs=3)
    assert second.best == first.best


def test_steps_per_execution():
    if keras.backend.backend() == "torch":
        pytest.skip("torch has steps_per_execution=1 only")

    def build(seed):
        model = make(seed=seed)
        model.compile("adam", "mse", metrics=["mae"], steps_per_execution=2)
        return model

    straight = build(1)
    fit(straight)
    with pytest.raises(RuntimeError, match="stopped by the test"):
        fit(build(1), own := checkpoint(save_freq=4), Stop(5))
    own.close()
    model = build(2)
    fit(model, checkpoint(save_freq=4, resume=True))
    assert same(model, straight)


def test_csv_goes_on_where_the_version_was_saved():
    def log():
        return keras.callbacks.CSVLogger("log.csv")

    fit(make(), log(), epochs=3)
    wanted = Path("log.csv").read_text()
    interrupted(14, log(), checkpoint(save_freq=4))
    fit(make(seed=2), log(), checkpoint(save_freq=4, resume="m:v1"))
    assert Path("log.csv").read_text() == wanted


def test_a_fit_that_breaks_off_while_passing_over_leaves_a_model_that_trains():
    interrupted(9, checkpoint(save_freq=4))
    model = make(seed=2)
    with pytest.raises(RuntimeError, match="stopped by the test"):
        fit(model, checkpoint(save_freq=4, resume=True), Stop(2))
    before = int(model.optimizer.iterations)
    fit(model, epochs=1)
    assert int(model.optimizer.iterations) == before + BATCHES


def test_another_batch_size_begins_the_epoch_again_and_says_so(capsys):
    interrupted(9, checkpoint(save_freq=4))
    model = make(seed=2)
    fit(model, checkpoint(save_freq=4, resume=True), batch_size=4)
    said = capsys.readouterr().out
    assert "there were 5 batches in an epoch, now there are 10, so this epoch starts" in said
    assert int(model.optimizer.iterations) == 8 + 2 * 10


def test_another_batch_size_after_an_epoch_is_reported(capsys):
    interrupted(9, checkpoint())
    model = make(seed=2)
    fit(model, checkpoint(resume=True), batch_size=7, steps_per_epoch=5)
    assert "in another order: there were 8 rows in a batch, now" in capsys.readouterr().out


def test_data_that_has_become_too_short_is_refused():
    def stream(batches):
        x, y = rows()
        yield from [(x[:8], y[:8])] * batches

    def train(model, callbacks, batches):
        model.fit(stream(batches), callbacks=callbacks, verbose=0)

    with pytest.raises(Stopped):
        train(make(), [own := checkpoint(save_freq=4), Stop(5)], 6)
    own.close()
    before = len(kept.open_store().versions("m"))
    with pytest.raises(CannotResume, match="fewer batches than were done"):
        train(make(seed=2), [checkpoint(save_freq=4, resume=True)], 2)
    assert len(kept.open_store().versions("m")) == before


def test_keras_py_dataset_with_random_rows(straight):
    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return BATCHES

        def __getitem__(self, index):
            x, y = rows()
            # TensorFlow asks ahead of time and from another thread: there only the order is kept.
            noise = 0 if keras.backend.backend() == "tensorflow" else np.random.normal()
            return x[index::5] + noise, y[index::5]

    def train(model, *callbacks):
        model.fit(Rows(), epochs=3, callbacks=[*callbacks], verbose=0)

    train(straight := make())
    with pytest.raises(RuntimeError, match="stopped by the test"):
        train(make(), own := checkpoint(save_freq=4), Stop(9))
    own.close()
    train(model := make(seed=2), checkpoint(save_freq=4, resume=True))
    assert same(model, straight)


def test_another_seed_of_tensorflow_is_reported(capsys):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the other frameworks shuffle by a state that can be set")
    interrupted(9, checkpoint(save_freq=4))
    model = make()
    set_tensorflow_seed(2)
    fit(model, checkpoint("n", save_freq=4, resume="m"))
    assert "TensorFlow shuffles arrays by its global seed" in capsys.readouterr().out
    assert int(model.optimizer.iterations) == 8 + 2 * BATCHES
    straight = make()
    set_tensorflow_seed(1)
    fit(straight)
    model = make()
    set_tensorflow_seed(2)
    fit(model, kept.resume(model, "m"))  # which is called before fit, and so in time
    assert same(model, straight)


def test_randomness_is_put_back():
    import random

    def draw():
        framework = {"jax": list, "torch": _draw_torch, "tensorflow": _draw_tensorflow}
        with_keras = float(np.sum(keras.ops.convert_to_numpy(keras.random.normal((3,)))))
        own = framework[keras.backend.backend()]()
        return [random.random(), random.gauss(0, 1), np.random.normal(), with_keras, own]

    keras.utils.set_random_seed(1)
    draw()
    arrays = {}
    state = encode(rng.capture(), arrays)
    wanted = [draw(), draw()]
    write_arrays("a.npz", arrays)
    keras.utils.set_random_seed(2)
    rng.restore(decode(json.loads(json.dumps(state)), read_arrays(Path("a.npz").read_bytes())))
    assert [draw(), draw()] == wanted
    assert wanted[0] != wanted[1]


def _draw_torch():
    import torch

    return torch.rand(2).tolist()


def _draw_tensorflow():
    import tensorflow as tf

    return [tf.random.uniform((2,)).numpy().tolist(),
            tf.random.get_global_generator().normal((2,)).numpy().tolist()]  # fmt: skip


def put_again(version, *, inside):
    """Store what a version holds as a folder of another version; return that one."""
    folder = version.download("again") if inside is None else version.download("again/" + inside)
    return kept.open_store().log_artifact("again", folder if inside is None else folder.parent)


@pytest.mark.parametrize("inside", [None, "deeper"])
@pytest.mark.any_framework
def test_a_folder_that_was_put_is_resumed_from_with_its_state(straight, capsys, inside):
    interrupted(9, own := checkpoint(save_freq=4))
    put_again(own.versions[0], inside=inside)
    fit(model := make(seed=2), checkpoint(save_freq=4, resume="again"))
    assert "continuing from again:v0 in epoch 1, after batch 4" in capsys.readouterr().out
    assert same(model, straight)


@pytest.mark.any_framework
def test_a_state_that_is_not_beside_its_checkpoint_is_refused():
    fit(make(), own := checkpoint(), epochs=1)
    folder = own.versions[0].download("again/one")
    (folder / "c.weights.h5").rename(folder.parent / "c.weights.h5")
    kept.open_store().log_artifact("again", folder.parent)
    with pytest.raises(CannotResume, match=r"again/one/kept-state\.json, and the check"):
        kept.resume(make(), "again")


@pytest.mark.parametrize("path", ["c.keras", "c.weights.h5", "c.h5"])
@pytest.mark.parametrize(
    "content", [b"", b"no checkpoint", b"PK\x03\x04 nor this", b"\x89HDF\r\n\x1a\n"]
)
@pytest.mark.any_framework
def test_what_is_no_checkpoint_is_refused(path, content):
    Path(path).write_bytes(content)
    kept.open_store().log_artifact("m", path)
    with pytest.raises(CannotResume, match="m:v0 cannot be loaded into"):
        kept.resume(make(), "m")
