"""One callback and several runs of W&B, and processes and threads that have none."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
import threading
from pathlib import Path

import keras
import pytest

import kept
from kept.errors import InvalidCheckpoint, NoActiveRun
from kept.sync.outbox.outbox import Outbox
from kept.sync.wandb.resumed import send_left
from tests.training.helpers import losses, play

pytestmark = pytest.mark.any_framework

wandb = pytest.importorskip("wandb")


def test_a_copy_in_a_process_without_a_run_is_refused_at_once(wandb_server, model, monkeypatch):
    """As on a rank that unpickles the callback; what the first rank has is not touched."""
    with wandb.init(project="p"):
        callback = kept.WandbModelCheckpoint("m.keras")
    rank = pickle.loads(pickle.dumps(callback))
    caught = []

    def train():
        try:
            rank.set_model(model)
            rank.on_train_begin()
        except NoActiveRun as error:
            caught.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert len(caught) == 1


def test_best_starts_afresh_with_each_run(wandb_server, model):
    callback, runs = None, []
    for values in ((0.5, 0.4), (0.9, 0.8)):
        with wandb.init(project="p") as run:
            callback = callback or kept.WandbModelCheckpoint("m.keras", save_best_only=True)
            play([callback], losses(*values), model=model)
            runs.append(run.id)
        assert callback.best == values[-1]
    for run_id in runs:
        first, second = wandb_server.versions(f"run_{run_id}_model")
        assert ("best" in first.aliases, "best" in second.aliases) == (False, True)


def test_best_continues_with_the_run_that_begins_again(wandb_server, model):
    callback = None
    for run_id, values in (("a", (0.5, 0.4)), ("b", (0.9,)), ("a", (0.6, 0.3))):
        with wandb.init(project="p", id=run_id, resume="allow"):
            callback = callback or kept.WandbModelCheckpoint("m-{epoch}.keras", save_best_only=True)
            play([callback], losses(*values), model=model)
    versions = wandb_server.versions("run_a_model")
    assert [json.loads(version.metadata)["value"] for version in versions] == [0.5, 0.4, 0.3]
    assert "best" in versions[-1].aliases


def test_a_run_that_is_not_the_active_one(wandb_server, model):
    """As with reinit="create_new", which sets no wandb.run."""
    with wandb.init(project="p") as run, pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb, "run", None)
        callback = copy.deepcopy(kept.WandbModelCheckpoint("m.keras", run=run))
        play([callback], losses(0.5), model=model)
    assert len(wandb_server.versions(f"run_{run.id}_model")) == 1
    with pytest.raises(NoActiveRun, match="has ended"):
        callback.on_train_begin()


def test_what_is_no_run_is_refused():
    with pytest.raises(InvalidCheckpoint, match="run='r'"):
        kept.WandbModelCheckpoint("m.keras", run="r")


def test_a_copy_that_was_not_used_ends_without_a_run(wandb_server):
    """A rank, or an estimator that was cloned, closes it though it has no run."""
    with wandb.init(project="p"):
        callback = kept.WandbModelCheckpoint("m.keras")
    rank = pickle.loads(pickle.dumps(callback))
    rank.close()
    assert rank.wait()
    assert (rank.logged, rank.versions, rank.skipped) == ([], [], 0)
    with pytest.raises(NoActiveRun):
        rank.on_train_begin()


@pytest.mark.parametrize("store", [None, "here"])
def test_the_advice_about_a_full_disk_fits(wandb_server, model, monkeypatch, store):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with wandb.init(project="p"):
        callback = kept.WandbModelCheckpoint("m.keras", store=store, on_error="warn")
        monkeypatch.setattr(Outbox, "add", full)
        with pytest.warns(UserWarning, match="No space left") as caught:
            play([callback], losses(0.5), model=model)
    [text] = [text for one in caught if "No space left" in (text := str(one.message))]
    assert f"kept sync --outbox {os.path.abspath('kept-outbox')}" in text
    assert ("kept gc" in text) == (store is not None)


def interrupt(callback, model):
    """Ctrl-C in the second epoch, while the writer is busy with the first one's checkpoint."""
    busy = threading.Event()

    def stop(epoch, _):
        if epoch == 1:
            raise KeyboardInterrupt
        callback._controller.saver.writer.submit(lambda: busy.wait(60))

    with pytest.raises(KeyboardInterrupt):
        play(
            [callback, keras.callbacks.LambdaCallback(on_epoch_begin=stop)],
            losses(0.5, 0.4),
            model=model,
        )
    threading.Timer(0.2, busy.set).start()


@pytest.mark.parametrize("of", ["W&B", "kept"])
def test_a_cell_that_is_interrupted_and_run_again(wandb_server, model, of):
    """The first fit's checkpoint comes first, and its file does not replace a later one."""

    def make():
        if of == "W&B":
            return kept.WandbModelCheckpoint("m.keras")
        return kept.ModelCheckpoint("m.keras", name="m", store="store")

    with wandb.init(project="p") as run:
        interrupt(make(), model)
        again = make()
        play([again], losses(0.3), model=model)
        newest = Path("m.keras").read_bytes()
    if of == "kept":
        first, second = kept.open_store("store").versions("m")
        assert (first.metadata["value"], second.metadata["value"]) == (0.5, 0.3)
        assert (second.download("out") / "m.keras").read_bytes() == newest
        return
    first, second = wandb_server.versions(f"run_{run.id}_model")
    assert wandb_server.content(second) == {"m.keras": newest}
    assert {"latest", "best"} <= set(second.aliases)
    assert wandb_server.content(first)["m.keras"] != newest


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_history_step_is_that_of_the_save(wandb_server, model, mode):
    """Uploads come later, when the run has logged more; after kept sync the run has ended."""
    gate = threading.Event()
    wandb_server.faults.fault = lambda call: call == "createArtifact" and gate.wait(60) and None

    def log(epoch, _):
        for n in range(epoch + 1):
            run.log({"a": n})

    with wandb.init(project="p", mode=mode) as run:
        callback = kept.WandbModelCheckpoint("m-{epoch}.keras")
        before, after = (keras.callbacks.LambdaCallback(on_epoch_end=log) for _ in range(2))
        late = keras.callbacks.LambdaCallback(on_train_end=lambda _: gate.set())
        play([late, before, callback, after], losses(0.5, 0.4), model=model)
    outbox = Outbox()
    for destination in {entry.destination for entry in outbox.entries()}:
        assert list(send_left(outbox, destination))
    versions = wandb_server.versions(f"run_{run.id}_model")
    assert [version.history_step for version in versions] == [1, 4]
