"""The runs of users: what ends them, what runs beside them, and what must not change them."""

from __future__ import annotations

import copy
import itertools
import json
import os
import subprocess
import threading

import pytest

import kept
from kept.errors import NoActiveRun, Refused
from kept.sync import courier
from kept.sync.outbox.outbox import Outbox
from kept.sync.outbox.rejected import rejection_of
from kept.sync.wandb import resumed, sdk
from kept.sync.wandb.resumed import send_left
from kept.sync.wandb.uploads import WandbUploads
from kept.training.callbacks.wandb_hooks import told_apart
from tests.sync.wandb.trainer import Trainer, sync
from tests.sync.wandb.training import KEPT

wandb = pytest.importorskip("wandb")
pytestmark = pytest.mark.usefixtures("quick")


def test_an_exception_in_the_run_loses_nothing(wandb_server, tmp_path):
    """W&B's own callback uploads all of them; no hook of a callback is called then."""
    trainer = Trainer(tmp_path)

    def train():
        with trainer.run:
            for n in range(3):
                trainer.save(b"%d" % n)
            raise RuntimeError("out of data")

    with pytest.raises(RuntimeError, match="out of data"):
        train()
    trainer.is_on(wandb_server)
    assert wandb_server.run(trainer.run.id).state == "failed"


def test_what_a_run_leaves_at_its_end_is_said(wandb_server, tmp_path, shown):
    trainer = Trainer(tmp_path)
    wandb_server.faults.fault = lambda name: "403" if name == "createArtifact" else None
    trainer.save(b"0")
    trainer.run.finish()
    assert any(f"kept sync --outbox {trainer.outbox.folder}" in text for text in shown)


def test_a_run_that_lives_is_left_alone(wandb_server, tmp_path, monkeypatch):
    """Though only rejected checkpoints are left: resuming the run would end it for the server."""
    trainer = Trainer(tmp_path)

    def rejected(*_, **__):
        raise Refused("its name")

    monkeypatch.setattr(sdk, "log", rejected)
    trainer.save(b"0")
    trainer.uploads.finish()
    assert not trainer.uploads._courier.pending
    [entry] = trainer.outbox.entries()
    calls = len(wandb_server.faults.calls)
    assert list(send_left(trainer.outbox, entry.destination)) == []
    assert "upsertBucket" not in wandb_server.faults.calls[calls:]
    assert wandb_server.run(trainer.run.id).state == "running"


def test_a_requeued_job_that_loads_its_data_lives(wandb_server, tmp_path):
    """It has made its callback, and fit has not begun."""
    killed = Trainer(tmp_path, id="again", mode="offline")
    killed.save(b"0")
    wandb.finish()
    requeued = wandb.init(project="p", id="again", resume="allow")
    uploads = WandbUploads(requeued, Outbox(killed.outbox.folder))
    [entry] = killed.outbox.entries()
    calls = len(wandb_server.faults.calls)
    assert list(send_left(killed.outbox, entry.destination)) == []
    assert "upsertBucket" not in wandb_server.faults.calls[calls:]
    assert wandb_server.run("again").state == "running"
    uploads.begin()
    uploads.finish()
    killed.is_on(wandb_server)


@pytest.mark.parametrize("lives", [True, False])
def test_a_job_that_has_not_used_kept_yet_lives(wandb_server, tmp_path, monkeypatch, capsys, lives):
    """It has called wandb.init here or on another machine; W&B gets signs of life of it."""
    monkeypatch.setattr(resumed, "_SIGN_SECONDS", 0.2)
    monkeypatch.setattr(resumed, "_LOOK_SECONDS", 0.01)
    killed = Trainer(tmp_path, id="again", mode="offline")
    killed.save(b"0")
    wandb.finish()
    if lives:
        wandb.init(project="p", id="again", resume="allow")
    else:
        with wandb.init(project="p", id="again"):
            pass
    run, signs = wandb_server.run("again"), itertools.count()
    run.state, run.heartbeat = "running", "2026-01-01T00:00:00"

    def beat(_):
        if lives:
            run.heartbeat = f"2026-01-01T00:00:{next(signs):02}"

    wandb_server.faults.fault = beat
    [entry] = killed.outbox.entries()
    assert list(send_left(killed.outbox, entry.destination)) == ([] if lives else [entry])
    assert "again is running" in capsys.readouterr().err
    assert run.state == ("running" if lives else "failed")


@pytest.mark.parametrize("status", ["402", "403"])
def test_a_refusal_of_the_account_changes_no_order(wandb_server, tmp_path, status):
    trainer = Trainer(tmp_path)
    faults = [status] * 3

    def fault(name):
        return faults.pop() if faults and name == "createArtifact" else None

    wandb_server.faults.fault = fault
    for n in range(3):
        trainer.save(b"%d" % n)
    arrived = [trainer.uploads._courier.wait(30) for _ in range(5)]  # each may end with a failure
    assert arrived[-1]
    assert faults == []
    trainer.is_on(wandb_server)


def test_latest_never_goes_back(wandb_server, tmp_path, monkeypatch):
    trainer = Trainer(tmp_path)
    log, refused = sdk.log, []

    def rejected_once(run, entry, aliases, **more):
        if not refused:
            refused.append(entry)
            raise Refused("its name")
        log(run, entry, aliases, **more)

    monkeypatch.setattr(sdk, "log", rejected_once)
    trainer.save(b"0")
    trainer.save(b"1")
    trainer.uploads.finish()
    wandb.finish()
    [entry] = trainer.outbox.entries()
    assert list(send_left(trainer.outbox, entry.destination)) == [entry]
    second, first = wandb_server.versions(trainer.name)
    assert set(second.aliases) == {"latest", "epoch_1"}
    assert first.aliases == ["epoch_0"]


def _facts(run):
    fields = {key: value for key, value in run.fields.items() if key != "id" and value != ""}
    config = {key: found["value"] for key, found in json.loads(fields.pop("config")).items()}
    lines = {name: [json.loads(line) for line in found] for name, found in run.lines.items()}
    return copy.deepcopy((run.state, run.exit_code, fields, config, lines, run.files))


def test_a_run_that_was_deleted_takes_nothing_and_kept_says_so(wandb_server, tmp_path):
    trainer, other = Trainer(tmp_path), Outbox(tmp_path / "outbox")
    trainer.run.finish()
    trainer.save(b"0")
    trainer.save(b"1")
    trainer.uploads.finish()
    wandb_server.delete_run(trainer.run.id)
    calls = len(wandb_server.faults.calls)
    first, second = other.entries()
    with pytest.raises(Refused, match=rf"{trainer.run.id}, because the run was deleted there"):
        list(send_left(other, first.destination))
    assert wandb_server.faults.calls[calls:].count("upsertBucket") == 1
    for entry in (first, second):
        assert "Undelete it" in rejection_of(entry).reason
    wandb_server.undelete_run(trainer.run.id)
    assert list(send_left(other, first.destination)) == [first, second]
    trainer.is_on(wandb_server)


def test_a_run_that_the_server_lost_begins_again(wandb_server, tmp_path):
    """As after a restore of the server's own backup."""
    trainer = Trainer(tmp_path)
    trainer.run.finish()
    trainer.save(b"0")
    trainer.uploads.finish()
    wandb_server.reset()
    sync(trainer.outbox)
    trainer.is_on(wandb_server)
    assert wandb_server.run(trainer.run.id).state == "finished"


@pytest.mark.integration
def test_kept_sync_changes_nothing_of_a_run(wandb_server, tmp_path):
    trainer = Trainer(
        tmp_path, name="mine", group="g", notes="n", tags=["t"], job_type="train", config={"a": 1}
    )
    trainer.run.define_metric("loss", summary="min")
    trainer.run.log({"loss": 0.5})
    trainer.run.finish()
    trainer.save(b"0")
    trainer.uploads.finish()
    before = _facts(wandb_server.run(trainer.run.id))
    (tmp_path / "config-defaults.yaml").write_text("a:\n  value: 2\n")
    shell = {
        "WANDB_NAME": "x", "WANDB_RUN_GROUP": "x", "WANDB_NOTES": "x", "WANDB_TAGS": "x",
        "WANDB_JOB_TYPE": "x", "WANDB_RUN_ID": "x", "WANDB_HOST": "x", "WANDB_RESUME": "never",
        "WANDB_MODE": "offline", "WANDB_PROJECT": "x", "WANDB_RESUME_FROM": "x?_step=1",
        "WANDB_FORK_FROM": "x?_step=1",
    }  # fmt: skip
    subprocess.run(
        [*KEPT, "sync", "--outbox", trainer.outbox.folder],
        cwd=tmp_path,
        env=os.environ | shell,
        check=True,
    )
    trainer.is_on(wandb_server)
    assert _facts(wandb_server.run(trainer.run.id)) == before


def test_the_eighth_argument_is_told_apart_by_its_type():
    assert told_apart(0.5, None) == (None, 0.5)
    assert told_apart(1, None) == (None, 1)
    options = object()
    assert told_apart(options, 0.5) == (options, 0.5)
    assert told_apart(None, None) == (None, None)


def test_a_process_that_was_forked_has_no_run(wandb_server, tmp_path, monkeypatch):
    """Its parent has the thread that sends, and the locks of that thread."""
    trainer = Trainer(tmp_path)
    assert sdk.active_run() is trainer.run
    monkeypatch.setattr(trainer.run, "_init_pid", os.getpid() + 1)
    with pytest.raises(NoActiveRun, match=r"Call wandb.init\(\) in this process"):
        kept.WandbModelCheckpoint("m.keras")


def test_a_run_that_begins_again_sends_what_it_has_left(wandb_server, tmp_path, shown):
    """The first one's upload hangs for ever, and its courier holds no claim afterwards."""
    trainer = Trainer(tmp_path)
    stuck = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdk, "log", lambda *_, **__: stuck.wait())
        patch.setattr(courier, "FINISH_SECONDS", 0.3)
        trainer.uploads.finish = lambda: None  # it would wait for the upload
        trainer.save(b"0")
        trainer.run.finish()
        assert trainer.uploads._courier.wait(20), "no attempt of a run that has ended"
    again = Trainer(tmp_path, id=trainer.run.id, resume="allow")
    again.saved = [b"0"]
    again.save(b"1")
    again.uploads.finish()
    stuck.set()
    again.is_on(wandb_server)
    assert not [text for text in shown if "another process" in text]
