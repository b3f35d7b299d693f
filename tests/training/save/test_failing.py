"""A save that fails: told once, the files and versions of before untouched, the next one works."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import keras
import pytest

import kept
from kept.errors import SaveFailed
from kept.training.keras_api import private_api
from tests.training.helpers import (
    best_epoch,
    content,
    content_of,
    epochs_of,
    fit,
    leftovers,
    losses,
    play,
)


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full while disk.full is set: half a file is written, then an error comes.

    There is room left for the smallest files, so that the store can be begun.
    """

    class Disk:
        full = True

    def failing(real):
        def save(model, path, *args, **options):
            if not Disk.full:
                return real(model, path, *args, **options)
            Path(path).write_bytes(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")

        return save

    writers = [(keras.Model, "save"), (keras.Model, "save_weights"), (private_api, "write_weights")]
    for owner, name in writers:
        monkeypatch.setattr(owner, name, failing(getattr(owner, name)))

    def filling(call):
        def write(fd, data, *offset):
            if not Disk.full or sum(map(len, data if call is writev else [data])) < 1024:
                return call(fd, data, *offset)
            raise OSError(errno.ENOSPC, "No space left on device")

        return write

    writev, pwrite = os.writev, os.pwrite
    monkeypatch.setattr(os, "writev", filling(writev))
    monkeypatch.setattr(os, "pwrite", filling(pwrite))
    return Disk


@pytest.fixture
def broken_store(store, monkeypatch):
    """A store that refuses commits while broken_store.broken is set."""
    real = store.log_artifact
    store.broken = True

    def log_artifact(*args, **options):
        if store.broken:
            raise ConnectionError("the store is gone")
        return real(*args, **options)

    monkeypatch.setattr(store, "log_artifact", log_artifact)
    return store


@pytest.fixture(params=["m.keras", "m.weights.h5"])
def filepath(request):
    return request.param


def checkpoint(filepath, **options):
    return kept.ModelCheckpoint(filepath, save_weights_only="weights" in filepath, **options)


def hooks(callback, model):
    """Return a callback that is in the middle of a training run."""
    callback.set_model(model)
    callback.set_params({})
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(0)
    return callback


@pytest.mark.parametrize("background", [True, False])
class TestWriteFails:
    def test_the_good_file_is_left_alone(self, disk, store, model, filepath, background):
        """Keras's callback writes over it: a file of 14859 bytes becomes one of 2."""
        callback = checkpoint(filepath, store=store, name="m", background=background)
        disk.full = False
        play([callback], [{}], model=model)
        good = content(filepath)
        disk.full = True
        with pytest.raises(SaveFailed):
            play([callback], [{}], model=model, start=1)
        assert content(filepath) == good
        assert epochs_of(store.versions("m")) == [0]
        assert store.verify().ok
        assert leftovers(".") == []

    @pytest.mark.any_framework
    def test_the_message(self, disk, store, model, filepath, background):
        callback = checkpoint(filepath, store=store, background=background)
        with pytest.raises(SaveFailed) as caught:
            play([callback], [{}], model=model)
        for part in ("Epoch 1", filepath, store.location, "OSError", "No space left on device"):
            assert part in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)

    def test_fit_raises_it(self, disk, data, model, background):
        with pytest.raises(SaveFailed, match="No space left"):
            fit(model, data, checkpoint("m.keras", background=background), epochs=2)
        assert not Path("m.keras").exists()

    @pytest.mark.any_framework
    def test_saves_after_it_work(self, disk, store, model, background):
        callback = checkpoint("m.keras", store=store, name="m", background=background)
        with pytest.raises(SaveFailed):
            play([callback], [{}], model=model)
        disk.full = False
        play([callback], [{}, {}, {}], model=model, start=1)
        assert epochs_of(callback.versions) == epochs_of(store.versions("m")) == [1, 2, 3]
        assert content("m.keras") == content_of(callback.versions[-1], "out")

    @pytest.mark.any_framework
    def test_what_was_not_saved_is_not_the_best_so_far(self, disk, store, model, background):
        callback = checkpoint(
            "m.keras", store=store, name="m", background=background, save_best_only=True
        )
        with pytest.raises(SaveFailed):
            play([callback], losses(0.1), model=model)
        disk.full = False
        play([callback], losses(0.5), model=model, start=1)
        assert epochs_of(callback.versions) == [1]
        assert store["m:best"].metadata["epoch"] == 1


@pytest.mark.any_framework
@pytest.mark.parametrize("background", [True, False])
class TestStoreFails:
    def test_the_file_is_published_all_the_same(self, broken_store, model, filepath, background):
        callback = checkpoint(filepath, store=broken_store, background=background)
        with pytest.raises(SaveFailed, match="ConnectionError: the store is gone"):
            play([callback], [{}], model=model)
        Path("live").mkdir()
        save = model.save_weights if "weights" in filepath else model.save
        save(Path("live", filepath))
        assert content(filepath) == content(Path("live", filepath))
        assert callback.versions == []
        assert leftovers(".") == []

    def test_saves_after_it_work(self, broken_store, model, background):
        callback = checkpoint("m.keras", store=broken_store, name="m", background=background)
        with pytest.raises(SaveFailed):
            play([callback], [{}], model=model)
        broken_store.broken = False
        play([callback], [{}], model=model, start=1)
        assert epochs_of(broken_store.versions("m")) == [1]


@pytest.mark.any_framework
@pytest.mark.parametrize("background", [True, False])
def test_a_file_that_cannot_be_published_takes_no_best_version_back(
    store, model, background, monkeypatch
):
    """The version is there: a worse one became the best, and keep= deleted the best one."""
    from kept.training.save import write_checkpoint

    real, full = write_checkpoint.publish, []

    def publish(*args):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*args)

    monkeypatch.setattr(write_checkpoint, "publish", publish)
    callback = checkpoint("m.keras", store=store, name="m", background=background,
                          on_error="warn", keep=kept.Keep(last=1))  # fmt: skip
    play([callback], losses(0.5), model=model)
    full.append("full")
    says = "Epoch 2: the checkpoint is committed, but m.keras could not be saved: OSError"
    with pytest.warns(UserWarning, match=says):
        play([callback], losses(0.3), model=model, start=1)
    full.clear()
    play([callback], losses(0.4), model=model, start=2)
    assert callback.best == 0.3
    assert best_epoch(store, "m") == 1
    assert epochs_of(store.versions("m")) == [1, 2]


@pytest.mark.any_framework
class TestInTheBackground:
    """The error is kept for the training thread, which gets it once."""

    @pytest.fixture
    def failed(self, disk, model):
        callback = hooks(checkpoint("m.keras"), model)
        callback.on_epoch_end(0)
        callback._controller.saver.writer._changed.acquire()  # wait() would raise the error here
        try:
            assert callback._controller.saver.writer._changed.wait_for(
                lambda: not callback._controller.saver.writer.pending, 60
            )
        finally:
            callback._controller.saver.writer._changed.release()
        disk.full = False
        return callback

    @pytest.mark.parametrize(
        "call",
        [
            lambda callback: callback.on_train_batch_end(1),
            lambda callback: callback.on_epoch_begin(1),
            lambda callback: callback.on_epoch_end(1),
            lambda callback: callback.on_train_end(),
            lambda callback: callback.on_train_begin(),
            lambda callback: callback.wait(),
            lambda callback: callback.close(),
        ],
        ids=["batch end", "epoch begin", "epoch end", "end", "begin", "wait", "close"],
    )
    def test_is_raised_by_whatever_comes_next_and_only_once(self, failed, call):
        with pytest.raises(SaveFailed, match="Epoch 1"):
            call(failed)
        call(failed)
        failed.close()

    def test_a_second_one_does_not_end_the_next_fit(self, disk, failed, model):
        """The user has seen the first, and made room; of the second there is a warning."""
        disk.full = True
        with pytest.raises(SaveFailed, match="Epoch 1"):
            failed.on_epoch_begin(1)
        failed.on_epoch_end(1)
        with pytest.warns(UserWarning, match="of the fit before, too: Epoch 2"):
            failed.on_train_begin()
        disk.full = False
        failed.on_epoch_begin(0)
        failed.close()

    def test_with_warn_all_are_told_of_by_the_end(self, disk, model, recwarn):
        callback = hooks(checkpoint("m.keras", on_error="warn"), model)
        for epoch in range(3):
            callback._controller.epoch_end(epoch, {})
        callback.on_train_end()
        told = [str(w.message) for w in recwarn if "continues without it" in str(w.message)]
        assert [text.partition(": ")[2][:7] for text in told] == ["Epoch 1", "Epoch 2", "Epoch 3"]

    def test_each_error_is_raised(self, disk, failed, model):
        disk.full = True
        with pytest.raises(SaveFailed, match="Epoch 1"):
            failed.on_epoch_begin(1)
        failed.on_epoch_end(1)
        with pytest.raises(SaveFailed, match="Epoch 2"):
            failed.wait()
        assert failed.wait()


@pytest.mark.any_framework
def test_ctrl_c_while_the_writer_is_waited_for_takes_the_best_value_back(model, monkeypatch):
    def interrupted(self, *, wait):
        raise KeyboardInterrupt

    callback = hooks(checkpoint("m.keras"), model)
    callback.on_epoch_end(0, {"val_loss": 2.0})
    with monkeypatch.context() as patch:
        patch.setattr("kept.training.snapshot.pool.SnapshotPool.borrow", interrupted)
        with pytest.raises(KeyboardInterrupt):
            callback.on_epoch_end(1, {"val_loss": 1.0})
    assert callback.best == 2.0
    callback.on_epoch_end(2, {"val_loss": 1.5})
    callback.close()
    assert callback._controller.parts.upkeep._compactor._saves == 0
    assert [version.metadata["value"] for version in callback.versions] == [2.0, 1.5]
    assert "best" in callback.versions[-1].aliases
