"""A checkpoint that its destination refuses: later ones go, it stays with the reason."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from kept.cli.main import cli
from kept.sync import courier
from kept.sync.outbox.rejected import rejection_of
from kept.sync.wandb import sdk, sender
from kept.sync.wandb.uploads import UploadInfo
from tests.helpers import write
from tests.sync.wandb.trainer import Trainer, sync

wandb = pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(courier, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(sender, "_ASK_SECONDS", 0.2)
    monkeypatch.setattr(sender, "_PAUSES", (0.05, 0.1))


@pytest.fixture
def refusing(wandb_server):
    """Have W&B refuse what is called so many times; returns how to say what that is."""

    def refuse(call, times, fault="400"):
        left = [fault] * times
        wandb_server.faults.fault = lambda name: left.pop() if left and name == call else None

    return refuse


def test_one_that_is_refused_does_not_keep_later_ones(wandb_server, tmp_path, refusing, shown):
    trainer = Trainer(tmp_path)
    refusing("createArtifact", 3)
    for n in range(3):
        trainer.save(b"%d" % n, aliases=["latest", f"epoch_{n}"] + ["best"] * (n < 2))
    trainer.uploads.finish()
    assert any("returned error 400" in text for text in shown[:-1])
    assert "one checkpoint is not in" in shown[-1]
    assert "returned error 400" in shown[-1]
    versions = wandb_server.versions(trainer.name)
    assert [set(v.aliases) for v in versions] == [{"epoch_1", "best"}, {"epoch_2", "latest"}]
    [left] = trainer.outbox.entries()
    assert "returned error 400" in rejection_of(left).reason
    trainer.save(b"3")
    trainer.uploads.finish()
    assert len(wandb_server.versions(trainer.name)) == 3, "and it was not asked for once more"
    wandb.finish()
    sync(trainer.outbox)
    last = wandb_server.versions(trainer.name)[-1]
    assert wandb_server.content(last) == {"m.keras": b"0"}
    assert set(last.aliases) == {"epoch_0"}, "best and latest stay with later ones"
    assert trainer.outbox.entries() == []


def test_a_type_conflict(wandb_server, tmp_path, shown):
    trainer = Trainer(tmp_path)
    taken = wandb.Artifact("mine", type="dataset")
    trainer.run.log_artifact(taken).wait()
    files = {"m.keras": write(tmp_path / "f", b"0")}
    trainer.uploads.add(UploadInfo("mine", aliases=["epoch_0"]), files)
    trainer.save(b"0")
    trainer.uploads.finish()
    assert "already exists with type 'dataset'" in shown[0]
    [left] = trainer.outbox.entries()
    assert "already exists with type 'dataset'" in rejection_of(left).reason
    assert len(wandb_server.versions(trainer.name)) == 1
    trainer.outbox.drop(left)
    wandb.finish()  # until then the run holds the claim, because an entry was left
    assert not os.path.exists(trainer.outbox.folder)


def test_what_the_sdk_does_not_take(wandb_server, tmp_path):
    trainer = Trainer(tmp_path)
    trainer.save(b"0", metadata={f"key {n}": n for n in range(200)})
    trainer.save(b"1")
    trainer.uploads.finish()
    [left] = trainer.outbox.entries()
    assert "metadata keys" in rejection_of(left).reason
    assert len(wandb_server.versions(trainer.name)) == 1


def test_what_may_pass_keeps_the_order(wandb_server, tmp_path, refusing):
    """Credentials that are wrong say nothing of one checkpoint."""
    trainer = Trainer(tmp_path)
    refusing("createArtifact", 5, "401")
    for n in range(3):
        trainer.save(b"%d" % n)
    for _ in range(10):
        trainer.uploads._courier.wait(60)
    trainer.is_on(wandb_server)


@pytest.mark.parametrize("text", [
    "ArtifactSaver.createArtifact: POST http://127.0.0.1/graphql giving up after 2 attempt(s)",
    "ArtifactSaver.createArtifact: api: failed sending: POST http://x giving up after 2 attempt(s)",
    "ArtifactSaver.createArtifact: returned error 401: {}",
    "HTTP 503: injected",
])  # fmt: skip
def test_texts_of_what_may_pass(text):
    assert sdk.may_pass(ValueError(text))


@pytest.mark.parametrize("text", [
    "ArtifactSaver.createArtifact: returned error 400: {}",
    "ArtifactSaver.createArtifact: input: no such thing",
    "ArtifactSaver.uploadFiles: most remaining uploads (1/1) have failed, giving up",
])  # fmt: skip
def test_texts_of_refusals(text):
    assert not sdk.may_pass(ValueError(text))


def run(*args, code=0):
    result = CliRunner().invoke(cli, ["sync", "--outbox", "outbox", *args])
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_lists_sends_and_drops(wandb_server, tmp_path, refusing):
    trainer = Trainer(tmp_path, mode="offline")
    for n in range(3):
        trainer.save(b"%d" % n)
    wandb.finish()
    assert "No checkpoint is rejected" in run("--drop-refused")
    refusing("createArtifact", 1_000_000, "400")
    assert "returned error 400" in run(code=1)
    refusing("createArtifact", 3)
    assert "returned error 400" in run(code=1)
    assert [len(wandb_server.versions(trainer.name)), len(trainer.outbox.entries())] == [2, 1]
    [waits] = json.loads(run("--status", "--json"))
    assert (waits["versions"], waits["refused"]) == (1, 1)
    assert "returned error 400" in waits["reason"]
    assert f"1 checkpoint of {trainer.name} rejected: " in run("--status")
    with trainer.outbox.draining(waits["destination"]):
        assert "another process is sending it" in run("--drop-refused", "--yes")
    [dropped] = json.loads(run("--drop-refused", "--yes", "--json"))
    assert (dropped["artifact"], dropped["bytes"]) == (trainer.name, 1)
    assert not os.path.exists("outbox")
    assert len(wandb_server.versions(trainer.name)) == 2


def test_what_was_refused_by_mistake_is_sent_later(wandb_server, tmp_path, refusing):
    trainer = Trainer(tmp_path, mode="offline")
    for n in range(3):
        trainer.save(b"%d" % n)
    wandb.finish()
    refusing("createArtifact", 1_000_000)
    run(code=1)
    assert [rejection_of(e).taken for e in trainer.outbox.entries()] == [()] * 3
    refusing("createArtifact", 0)
    run()
    trainer.is_on(wandb_server)
