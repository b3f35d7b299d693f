"""Saving while training goes on: what is saved is the state of the moment, in order, all of it."""

from __future__ import annotations

import os
import threading

import keras
import pytest

import kept
from kept.training.save import pace, write_checkpoint
from kept.training.save.writer import Writer
from tests.training.helpers import (
    PATIENCE,
    AtTheEnd,
    LiveSave,
    begin,
    best_epoch,
    change,
    content,
    content_of,
    epochs_of,
    fit,
    losses,
    play,
)

ENDINGS = [".keras", ".weights.h5", ".h5"]


def checkpoint(ending=".keras", **options):
    return kept.ModelCheckpoint(f"out/m{ending}", save_weights_only="weights" in ending, **options)


def assert_equal_content(callback, live, folder):
    """Every version holds exactly what Keras saved at the same moment."""
    assert len(callback.versions) == len(live.paths) > 1
    for version, path in zip(callback.versions, live.paths, strict=True):
        assert content_of(version, folder) == content(path)


class OneBatchLater(keras.callbacks.Callback):
    """Lets the writer write a checkpoint when one batch more has been trained, not earlier."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.allowed = threading.Semaphore(0)
        real = write_checkpoint.write_snapshot

        def late(*args, **options):
            assert self.allowed.acquire(timeout=60)
            return real(*args, **options)

        monkeypatch.setattr(write_checkpoint, "write_snapshot", late)

    def on_train_batch_end(self, batch, logs=None):
        if batch > 0:
            self.allowed.release()

    def on_train_end(self, logs=None):
        self.allowed.release()


class TestWhatIsSaved:
    @pytest.mark.parametrize("ending", ENDINGS)
    def test_is_the_state_of_the_moment_while_training_changes_it(
        self, data, model, monkeypatch, tmp_path, ending
    ):
        """Donated JAX buffers and in-place updates of torch and TensorFlow never leak in."""
        callback = checkpoint(ending, save_freq=1)
        live = LiveSave(tmp_path / "live", ending, each="batch")
        fit(model, data, OneBatchLater(monkeypatch), live, callback, batch_size=5)
        assert len(callback.versions) == 8
        assert_equal_content(callback, live, tmp_path / "kept")
        assert len({version.digest for version in callback.versions}) == 8

    def test_is_what_is_saved_on_the_spot_in_the_same_run(self, data, rewind, tmp_path):
        found = []
        for background in (True, False):
            callback = checkpoint(store=f"store {background}", save_freq=1, background=background)
            fit(rewind(), data, callback)
            folder = tmp_path / f"{background}"
            members = [content_of(version, folder) for version in callback.versions]
            found.append([member["model.weights.h5"] for member in members])
        assert len(found[0]) == 4
        assert found[0] == found[1]

    def test_with_both_snapshots_full_at_the_end_of_training(self, data, model, gate, tmp_path):
        callback = checkpoint()
        live = LiveSave(tmp_path / "live", ".keras", each="epoch")
        fit(model, data, AtTheEnd(gate.open), live, callback, epochs=2)
        assert_equal_content(callback, live, tmp_path / "kept")

    def test_order_of_commits_is_order_of_saves(self, data, model, store):
        callback = checkpoint(store=store, name="m", save_freq=1)
        fit(model, data, callback, epochs=3)
        wanted = [f"epoch_{epoch}_batch_{batch}" for epoch in range(3) for batch in range(4)]
        assert [v.aliases[-1] for v in store.versions("m")][:-1] == wanted[:-1]
        assert [v.metadata["step"] for v in store.versions("m")] == list(range(1, 13))
        assert [v.index for v in callback.versions] == list(range(12))

    def test_training_does_not_see_the_snapshot(self, data, rewind, gate):
        """The same run gives the same weights with a writer at work as without one."""
        model, weights = rewind(), []
        for callbacks in ([], [AtTheEnd(gate.open), checkpoint()]):
            fit(rewind(), data, *callbacks, epochs=2)
            weights.append([values.tolist() for values in model.get_weights()])
        assert weights[0] == weights[1]


class TestModelsThatChange:
    def test_a_layer_more(self, data, own_model):
        callback = checkpoint()
        fit(own_model, data, callback)
        own_model.add(keras.layers.Dense(1, activation="sigmoid"))
        own_model.compile("sgd", "binary_crossentropy")
        fit(own_model, data, callback)
        first, second = (version.load_model() for version in callback.versions)
        assert [len(m.get_weights()) for m in (first, second)] == [4, 6]
        for ours, theirs in zip(second.get_weights(), own_model.get_weights(), strict=True):
            assert ours.tolist() == theirs.tolist()

    def test_a_layer_more_in_the_middle_of_training(self, own_model, tmp_path):
        callback, live = checkpoint(), LiveSave("live", ".keras", each="epoch")

        class Grow(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                callback.wait()  # or the writer, too, would see the layer in the config
                layer = keras.layers.Dense(epoch + 1)
                self.model.add(layer)
                layer.bias.assign(layer.bias + 7.0)

        play([live, callback, Grow()], [{}] * 4, model=own_model)
        assert_equal_content(callback, live, tmp_path / "kept")
        assert len(callback.versions[-1].load_model().layers) == 3 + 4

    def test_while_a_checkpoint_is_written_is_told(self, own_model, gate, capsys):
        """Keras writes the model as it is by then, of variables that no snapshot has."""
        callback = checkpoint(store="store", name="m")
        begin(callback, own_model)
        callback.on_epoch_end(0)
        own_model.add(keras.layers.Dense(1))
        gate.open()
        callback.on_train_end()
        assert "Epoch 1: the model got other variables while" in capsys.readouterr().out

    def test_another_shape(self, data, own_model, tmp_path):
        callback, live = checkpoint(), LiveSave("live", ".keras", each="epoch")
        play([live, callback], [{}], model=own_model)
        for units in (20, 3):
            dense = keras.layers.Dense(units)
            own_model.pop()
            own_model.add(dense)
            play([live, callback], [{}, {}], model=own_model)
        assert_equal_content(callback, live, tmp_path / "kept")

    def test_memory_of_variables_that_are_gone_is_let_go(self, own_model):
        callback = checkpoint()
        play([callback], [{}], model=own_model)
        before = callback.versions[-1].metadata["snapshot_bytes"]
        own_model.pop()
        play([callback], [{}], model=own_model)
        assert callback.versions[-1].metadata["snapshot_bytes"] < before


class TestMemory:
    @pytest.fixture
    def sizes(self, model, store):
        """Saves twice, so long after the fit began and once more; returns what is then taken."""

        def sizes(between):
            callback = checkpoint(store=store, name="m")
            begin(callback, model)
            for epoch in range(2):
                callback._controller.saver._pace._began -= between
                callback.on_epoch_end(epoch, {})
                callback.wait()
            return sorted(snapshot.size for snapshot in callback._controller.saver._pool._free)

        return sizes

    def test_there_is_one_snapshot_where_saves_are_far_apart(self, sizes):
        none, some = sizes(between=3600)
        assert none == 0 < some

    def test_there_are_two_before_saves_overlap(self, sizes):
        one, other = sizes(between=-3600)
        assert one == other > 0

    @pytest.mark.parametrize(("seconds", "count"), [(1, 1), (10, 2), (100, 1)])
    def test_after_the_first_save_by_its_size(self, seconds, count, model, store, monkeypatch):
        """The second save may come before it is known how long the first one takes to write."""
        callback = checkpoint(store=store, name="m")
        begin(callback, model)
        size = callback._controller.saver._pool._free[-1].size
        monkeypatch.setattr(pace, "_SPEED", size / seconds)
        callback._controller.saver._pace._began -= 10
        callback.on_epoch_end(0, {})
        callback.wait()
        assert len([one for one in callback._controller.saver._pool._free if one.size]) == count

    def test_a_fit_with_a_save_after_every_batch(self, data, model):
        """Only the training thread may look at the variables meanwhile, on JAX."""
        callback = checkpoint(save_freq=1)
        fit(model, data, callback, epochs=3)
        callback.wait()
        one, other = (snapshot.size for snapshot in callback._controller.saver._pool._free)
        assert one == other > 0


class TestBackPressure:
    def test_the_third_save_waits_while_two_are_written(self, gate, model, store, monkeypatch):
        callback = checkpoint(store=store, name="m")
        returned = callback._controller.saver._pool._returned
        wait_for, waited = returned.wait_for, []

        def opening(predicate):
            if not predicate():
                waited.append(len(callback.versions))
                gate.open()
            return wait_for(predicate)

        begin(callback, model)
        monkeypatch.setattr(returned, "wait_for", opening)
        for epoch in range(3):
            change(model)
            callback.on_epoch_end(epoch)
        callback.on_train_end()
        assert waited == [0]
        assert epochs_of(store.versions("m")) == [0, 1, 2]

    def skipping(self, gate, store, model, **options):
        """Return a callback that had to skip the last of three epochs."""
        callback = checkpoint(store=store, name="m", on_busy="skip", **options)
        begin(callback, model)
        for epoch, logs in enumerate(losses(0.3, 0.2, 0.1)):
            change(model)
            callback.on_epoch_end(epoch, logs)
        gate.open()
        callback.wait()
        return callback

    def test_skip_counts(self, gate, store, model):
        callback = self.skipping(gate, store, model)
        assert callback.skipped == 1
        assert epochs_of(callback.versions) == epochs_of(store.versions("m")) == [0, 1]

    def test_skip_is_told(self, gate, store, model, capsys):
        callback = self.skipping(gate, store, model, verbose=1)
        callback.on_train_end()
        assert "Epoch 3: skipped" in capsys.readouterr().out

    def test_what_was_skipped_is_not_the_best_so_far(self, gate, store, model):
        callback = self.skipping(gate, store, model, save_best_only=True)
        assert best_epoch(store, "m") == 1
        callback.on_epoch_end(3, {"val_loss": 0.15})
        callback.on_epoch_end(4, {"val_loss": 0.17})
        callback.on_train_end()
        assert best_epoch(store, "m") == 3
        assert epochs_of(callback.versions) == [0, 1, 3]

    def test_nothing_is_skipped_when_there_is_time(self, store, model):
        callback = checkpoint(store=store, on_busy="skip")
        for start in range(4):
            play([callback], [{}], model=model, start=start)
        assert callback.skipped == 0
        assert epochs_of(callback.versions) == [0, 1, 2, 3]


class TestFilesPassedOver:
    """Where saves come faster than they are written, the disk is not made to write every file."""

    @pytest.fixture
    def published(self, monkeypatch):
        """Paths of files, as they appear."""
        found = []
        real = write_checkpoint.publish
        monkeypatch.setattr(
            write_checkpoint, "publish", lambda *args: (real(*args), found.append(args[-1]))
        )
        return found

    @staticmethod
    def save_in_a_hurry(callback, model, gate, epochs):
        """Have every save but the last be written while the next one waits."""
        begin(callback, model)
        callback.on_epoch_end(0)
        for epoch in range(1, epochs):
            change(model)
            callback.on_epoch_end(epoch)
            gate.let_through(1)
        gate.open()
        callback.on_train_end()

    def test_never_the_first_the_last_or_two_in_a_row(
        self, gate, published, data, model, store, tmp_path
    ):
        callback = checkpoint(store=store, name="m", verbose=1)
        self.save_in_a_hurry(callback, model, gate, 6)
        assert epochs_of(store.versions("m")) == [0, 1, 2, 3, 4, 5]
        assert len(published) == 4  # of epochs 0, 2, 4 and 5
        assert content("out/m.keras") == content_of(callback.versions[-1], tmp_path / "last")

    def test_is_told(self, gate, model, store, capsys):
        self.save_in_a_hurry(checkpoint(store=store, name="m", verbose=1), model, gate, 3)
        told = capsys.readouterr().out
        assert "Epoch 1: finished saving model to out/m.keras (m:v0)" in told
        assert "Epoch 2: finished saving m:v1; the next save is for out/m.keras" in told

    def test_not_where_every_file_has_a_name_of_its_own(self, gate, published, model, store):
        callback = kept.ModelCheckpoint("out/{epoch}.keras", store=store, name="m")
        self.save_in_a_hurry(callback, model, gate, 5)
        assert published == [os.path.abspath(f"out/{epoch}.keras") for epoch in range(1, 6)]

    def test_not_where_the_commit_fails(self, gate, published, model, store, monkeypatch):
        def failing(*_, **__):
            raise OSError("no room")

        callback = checkpoint(store=store, name="m", on_error="warn")
        monkeypatch.setattr(type(callback._controller.parts.destination), "submit", failing)
        with pytest.warns(UserWarning, match="no room"):
            self.save_in_a_hurry(callback, model, gate, 4)
        assert len(published) == 4


class TestWaiting:
    def test_fit_returns_when_all_is_durable(self, data, model):
        callback = checkpoint(save_freq=1)
        fit(model, data, callback)
        assert len(kept.open_store().versions(callback.name)) == 4

    def test_wait_says_whether_all_is_durable(self, gate, model):
        callback = checkpoint()
        callback.set_model(model)
        callback.on_train_begin()
        callback.on_epoch_end(0)
        assert callback.wait(timeout=0.01) is False
        assert callback.versions == []
        gate.open()
        assert callback.wait() is True
        assert len(callback.versions) == 1
        callback.on_train_end()

    def test_close_lets_go_of_the_snapshots_and_the_callback_still_works(self, model):
        callback = checkpoint()
        play([callback], [{}], model=model)
        pool = callback._controller.saver._pool
        callback.close()
        assert callback._controller.saver._pool is not pool
        play([callback], [{}], model=model, start=1)
        assert epochs_of(callback.versions) == [0, 1]

    def test_no_thread_is_left(self, data, model):
        fit(model, data, checkpoint(save_freq=1))
        left = [thread for thread in threading.enumerate() if thread.name == "kept-writer"]
        for thread in left:  # it may be about to end
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in left)

    def test_not_in_the_background_there_is_no_thread(self, data, model, monkeypatch):
        monkeypatch.setattr(Writer, "submit", lambda writer, job: pytest.fail("a job to do"))
        callback = checkpoint(background=False)
        saved = []
        note = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: saved.append(len(callback.versions))
        )
        play([callback, note], [{}, {}], model=model)
        assert saved == [1, 2]


class TestVerbose:
    def test_a_line_for_each_save(self, model, capsys):
        callback = checkpoint(verbose=1, save_best_only=True, name="m")
        play([callback], losses(0.5, 0.6, 0.4), model=model)
        lines = [line for line in capsys.readouterr().out.splitlines() if line]
        path = "out/m.keras"
        told = [
            f"Epoch 1: val_loss improved from None to 0.50000, saving model to {path}",
            f"Epoch 1: finished saving model to {path} (m:v0)",
            "Epoch 2: val_loss did not improve from 0.50000",
            f"Epoch 3: val_loss improved from 0.50000 to 0.40000, saving model to {path}",
            f"Epoch 3: finished saving model to {path} (m:v1)",
        ]
        assert sorted(lines) == sorted(told)

    def test_silent(self, model, capsys):
        play([checkpoint(name="m")], losses(0.5, 0.6), model=model)
        assert capsys.readouterr() == ("", "")
