"""What a save reports: one result for each request, whatever fails or interrupts it."""

import warnings

import keras
import pytest

import kept
from kept.store.receipts import MirrorHead, Receipts
from kept.store.retention import mirrored
from kept.training.save import write_checkpoint
from kept.training.save.writer import Writer
from kept.training.snapshot.pool import SnapshotPool
from kept.training.upkeep.upkeep import Upkeep
from tests.helpers import write
from tests.training.helpers import begin, make_model

pytestmark = pytest.mark.any_framework


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def results(monkeypatch):
    """The results of all saves."""
    found = []
    real = Upkeep.saved

    def saved(self, result):
        found.append(result)
        real(self, result)

    monkeypatch.setattr(Upkeep, "saved", saved)
    return found


def started(**options):
    callback = kept.ModelCheckpoint("m.keras", store="store", name="m", **options)
    begin(callback, make_model())
    return callback


def save(callback):
    callback.on_epoch_end(0, {"val_loss": 1.0})
    callback.wait()


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("error", [OSError("no"), ValueError("no")])
def test_a_file_that_fails_after_the_commit(results, monkeypatch, background, error):
    callback = started(background=background)
    monkeypatch.setattr(write_checkpoint, "publish", failing(error))
    with pytest.raises(kept.KeptError, match=r"is committed, but m\.keras could not be saved"):
        save(callback)
    [result] = results
    assert (result.committed, result.file) == (True, None)
    assert callback.best == 1.0
    assert callback.versions == kept.open_store("store").versions("m")


def test_ctrl_c_after_the_commit_of_a_live_save(results, monkeypatch):
    callback = started(background=False)
    monkeypatch.setattr(write_checkpoint, "publish", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        callback.on_epoch_end(0, {"val_loss": 1.0})
    assert [result.committed for result in results] == [True]
    assert callback.best == 1.0
    assert len(callback.versions) == 1


@pytest.mark.parametrize(
    ("where", "name", "count"), [(SnapshotPool, "borrow", 0), (Writer, "submit", 1)]
)
def test_ctrl_c_before_the_writer_thread_has_the_snapshot(results, monkeypatch, where, name, count):
    callback = started()
    callback.wait()
    real = getattr(where, name)

    def interrupted(self, *args, **options):
        if name == "submit":
            real(self, *args, **options)  # the job is in the queue already
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            callback.on_epoch_end(0, {"val_loss": 1.0})
    callback.wait()
    assert [result.committed for result in results] == [bool(count)]
    assert callback.best == (1.0 if count else None)
    assert callback._controller.parts.upkeep._compactor._saves == 0


def test_a_state_that_cannot_be_saved_leaves_the_file(results):
    class Odd(keras.callbacks.Callback):
        def get_state(self):
            return object()

        def set_state(self, state):
            pass

    callback = started(state_of=[Odd()])
    with pytest.raises(kept.KeptError, match="could not be saved in"):
        save(callback)
    assert keras.saving.load_model("m.keras") is not None
    assert callback.versions == []


def test_of_two_superseded_files_one_is_written_also_after_a_failure(monkeypatch):
    """Save 2 is superseded and save 3 fails, so save 4 is published."""
    callback = started(on_error="warn")
    saver = callback._controller.saver
    results = [
        write_checkpoint.SaveResult(None, committed=True, superseded=True),
        write_checkpoint.SaveResult(None, error=kept.KeptError("no")),
    ]
    seen = []

    def write(request, snapshot, waiting):
        seen.append(waiting)
        return results.pop(0) if results else write_checkpoint.SaveResult(None, committed=True)

    monkeypatch.setattr(saver._checkpoints, "write", write)
    for _ in range(3):
        saver._write(None, None)
    assert seen == [saver._queue, (), ()]


def test_room_on_a_disk_is_made_in_silence(capsys):
    callback = started(keep=kept.Keep(last=1))
    store = callback.store
    assert callback._controller.parts.upkeep.make_room(store, "m") is False, "no version exists yet"
    assert "could not be deleted" not in capsys.readouterr().out


def test_room_on_a_disk_is_made_without_a_wait_for_a_mirror(monkeypatch, tmp_path):
    callback = started(keep=kept.Keep(last=1))
    store = callback.store
    for n in range(2):
        store.log_artifact("m", write(tmp_path / "f", b"%d" % n))
    Receipts(store.bucket, "s3://b/silent").confirm("m", 2, 1, MirrorHead(2, "0" * 32))
    asked = []
    monkeypatch.setattr(mirrored, "_problem", asked.append)
    assert callback._controller.parts.upkeep.make_room(store, "m") is False
    assert (asked, len(store.versions("m"))) == ([], 2)


def test_an_unexpected_error_of_the_upkeep_fails_no_save(results, monkeypatch, capsys):
    callback = started(keep=kept.Keep(last=1))
    monkeypatch.setattr(kept.Store, "prune", failing(RuntimeError("unexpected")))
    callback.on_epoch_end(0, {"val_loss": 1.0})
    assert callback.wait()
    assert len(callback.versions) == 1
    assert "unexpected" in capsys.readouterr().out
    assert callback._controller.parts.upkeep._compactor._saves == 0


def test_a_proposal_whose_hook_was_interrupted_does_not_stay_the_best(monkeypatch):
    callback = started(save_best_only=True)
    controller = callback._controller
    with monkeypatch.context() as patch:
        patch.setattr(controller._saves, "show", failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            callback.on_epoch_end(0, {"val_loss": 0.8})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for epoch, value in enumerate((0.5, 0.7, 0.65), 1):
            callback.on_epoch_end(epoch, {"val_loss": value})
            callback.wait()
    assert callback.best == 0.5
    assert [version.metadata["value"] for version in callback.versions] == [0.5]
