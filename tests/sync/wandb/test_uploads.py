"""Uploads to W&B, with its own SDK: nothing is lost, nothing is stored twice."""

from __future__ import annotations

import json
import os
import threading
from datetime import timedelta

import pytest

from kept.errors import Damaged, InvalidInput, NoActiveRun, UploadFailed
from kept.sync import courier
from kept.sync.outbox.outbox import Outbox
from kept.sync.wandb import sdk, server
from kept.sync.wandb.ping import answers
from kept.sync.wandb.resumed import send_left
from kept.sync.wandb.uploads import uploads_of
from tests.helpers import write
from tests.sync.wandb.trainer import Trainer, sync

wandb = pytest.importorskip("wandb")
pytestmark = pytest.mark.usefixtures("quick")


def test_checkpoints_arrive_in_order_with_all_that_belongs_to_them(
    wandb_server, tmp_path, monkeypatch, shown
):
    monkeypatch.setattr(courier, "NOTICE_SECONDS", 60)  # a busy machine needs no notice
    trainer = Trainer(tmp_path)
    trainer.save(b"a" * 100_000, description="the first", ttl=timedelta(days=3))
    trainer.save(b"b")
    trainer.save(b"", references={"there.keras": "s3://bucket/there.keras"})
    trainer.uploads.finish()
    first, second, third = trainer.is_on(wandb_server)
    assert (first.description, first.ttl) == ("the first", 3 * 24 * 3600)
    assert json.loads(second.metadata)["epoch"] == 1
    assert [(f.path, f.ref) for f in third.files if f.ref] == [
        ("there.keras", "s3://bucket/there.keras")
    ]
    assert first.run.name == trainer.run.id
    assert shown == []


def test_the_training_thread_asks_the_server_nothing(wandb_server, tmp_path):
    trainer = Trainer(tmp_path)
    gate = threading.Event()
    wandb_server.faults.fault = lambda name: gate.wait(60) and None
    for n in range(3):
        trainer.save(b"%d" % n)
    assert len(trainer.outbox.entries()) == 3, "all returned while the server answered nothing"
    gate.set()
    trainer.uploads.finish()
    trainer.is_on(wandb_server)


def test_there_is_no_second_copy_of_the_bytes(wandb_server, tmp_path):
    trainer = Trainer(tmp_path)
    seen = []

    def look(name):
        if name == "upload":
            below = [tmp_path, os.environ["WANDB_DIR"]]
            found = {
                (s.st_dev, s.st_ino): s.st_size
                for top in below
                for folder, _, files in os.walk(top)
                for s in (os.stat(os.path.join(folder, file)) for file in files)
            }
            seen.append(sum(size for size in found.values() if size >= 1_000_000))

    wandb_server.faults.fault = look
    trainer.save(os.urandom(1_000_000))
    trainer.uploads.finish()
    look("upload")
    assert max(seen) == 1_000_000
    assert seen[-1] == 0, "nor is one left anywhere when it is done"
    trainer.is_on(wandb_server)


def test_the_server_away_until_the_end(wandb_server, tmp_path, monkeypatch, shown):
    trainer = Trainer(tmp_path)
    wandb_server.stop()
    for n in range(3):
        trainer.save(b"%d" % n)
    trainer.uploads.finish()
    failed, left = (text for text in shown if "on their way" not in text)
    assert "failed; training continues, and every version is safe" in failed
    assert "does not answer" in failed
    assert "3 checkpoints are not in the W&B run kept-team/p/" in left
    assert left.endswith(f"to send it: kept sync --outbox {trainer.outbox.folder}")
    wandb_server.start()
    assert trainer.uploads._courier.wait(120) or trainer.uploads._courier.wait(120)
    trainer.is_on(wandb_server)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("createArtifact", "drop"),
        ("createArtifactManifest", "503"),
        ("createArtifactFiles", "away"),
        ("upload", "half"),
        ("upload", "drop"),
        ("commitArtifact", "away"),
        ("commitArtifact", "drop"),
    ],
)
def test_each_call_may_fail_once(wandb_server, tmp_path, call, fault):
    trainer = Trainer(tmp_path)
    faults = [fault]
    wandb_server.faults.fault = lambda name: faults.pop() if faults and name == call else None
    for n in range(2):
        trainer.save(b"%d" % n)
    trainer.uploads.finish()
    assert faults == []
    trainer.is_on(wandb_server)


def test_an_upload_that_wandb_gives_up(wandb_server, tmp_path, shown):
    """With a status that wandb does not try again: the artifact is lost, for wandb."""
    trainer = Trainer(tmp_path)
    faults = ["400", "400"]
    wandb_server.faults.fault = lambda name: faults.pop() if faults and name == "upload" else None
    for n in range(3):
        trainer.save(b"%d" % n)
    trainer.uploads.finish()
    trainer.uploads._courier.wait(30)
    trainer.is_on(wandb_server)
    assert faults == []
    assert [text for text in shown if "on their way" not in text] == []


def test_committed_and_not_confirmed_is_not_sent_again(wandb_server, tmp_path, monkeypatch):
    trainer = Trainer(tmp_path)
    monkeypatch.setattr(trainer.outbox, "confirm", lambda entry: None)
    trainer.save(b"0")
    trainer.uploads.finish()
    assert len(trainer.outbox.entries()) == 1
    wandb.finish()
    [entry] = trainer.outbox.entries()
    assert list(send_left(Outbox(trainer.outbox.folder), entry.destination)) == [entry]
    trainer.is_on(wandb_server)


def test_a_server_that_does_not_answer_is_not_taken_for_an_empty_one(wandb_server, tmp_path):
    trainer = Trainer(tmp_path)
    place = sdk.place_of(trainer.run)
    assert server.known(place, trainer.name, "model") == {}
    assert server.best(place, trainer.name) is None
    trainer.save(b"0", aliases=["best"], metadata={"epoch": 7})
    trainer.uploads.finish()
    assert len(server.known(place, trainer.name, "model")) == 1
    assert server.known(place, "another", "model") == {}
    assert server.best(place, trainer.name)["epoch"] == 7
    wandb_server.faults.fault = lambda name: "403" if name == "project" else None
    with pytest.raises(UploadFailed):
        server.known(place, trainer.name, "model")
    with pytest.raises(UploadFailed):
        server.best(place, trainer.name)


def test_the_same_bytes_again(wandb_server, tmp_path):
    """W&B makes no version of them: the aliases go to the existing one."""
    trainer = Trainer(tmp_path)
    trainer.save(b"same")
    trainer.save(b"same", aliases=["latest", "epoch_1", "best"])
    trainer.uploads.finish()
    [version] = wandb_server.versions(trainer.name)
    assert set(version.aliases) == {"latest", "epoch_0", "epoch_1", "best"}
    assert trainer.outbox.entries() == []


def test_a_run_that_was_ended_keeps_what_is_left(wandb_server, tmp_path, shown):
    trainer = Trainer(tmp_path)
    trainer.save(b"0")
    trainer.uploads.finish()
    wandb.finish()
    trainer.save(b"1")
    trainer.save(b"2")
    trainer.uploads.finish()
    # The courier reports it if it looks before finish does.
    assert any("is finished" in text or "it was ended" in text for text in shown)
    assert "2 checkpoints are not" in shown[-1]
    assert wandb_server.run(trainer.run.id).state == "finished"
    sync(trainer.outbox)
    trainer.is_on(wandb_server)
    assert wandb_server.run(trainer.run.id).state == "finished"


def test_wandb_finish_in_the_midst_of_an_upload(wandb_server, tmp_path):
    trainer = Trainer(tmp_path)
    wandb_server.faults.fault = lambda name: "slow" if name == "upload" else None
    for n in range(3):
        trainer.save(b"%d" % n * 3_000_000)
    wandb.finish()
    trainer.uploads.finish()
    if trainer.outbox.entries():
        sync(trainer.outbox)
    trainer.is_on(wandb_server)


def test_offline_everything_waits_for_sync(wandb_server, tmp_path, shown):
    trainer = Trainer(tmp_path, mode="offline")
    for n in range(3):
        trainer.save(b"%d" % n)
    trainer.uploads.finish()
    assert wandb_server.faults.calls == []
    [text] = shown
    assert "3 checkpoints are not in the W&B run p/" in text
    assert "(W&B is offline)" in text
    wandb.finish()
    sync(trainer.outbox)
    trainer.is_on(wandb_server)
    assert wandb_server.run(trainer.run.id).state == "finished"


@pytest.mark.parametrize("kept_first", [True, False])
def test_offline_and_wandb_sync_make_no_doubles(wandb_server, tmp_path, kept_first):
    import subprocess
    import sys

    trainer = Trainer(tmp_path, mode="offline")
    trainer.run.log({"loss": 0.5})
    folder = os.path.dirname(trainer.run.dir)
    for n in range(2):
        trainer.save(b"%d" % n)
    wandb.finish()
    steps = [
        lambda: sync(trainer.outbox),
        lambda: subprocess.run([sys.executable, "-m", "wandb", "sync", folder], check=True),
    ]
    for step in steps if kept_first else steps[::-1]:
        step()
    trainer.is_on(wandb_server)
    assert len(wandb_server.run(trainer.run.id).lines["wandb-history.jsonl"]) == 1


def test_disabled_leaves_nothing(wandb_server, tmp_path, shown):
    trainer = Trainer(tmp_path, mode="disabled")
    trainer.save(b"0")
    trainer.uploads.finish()
    assert wandb_server.faults.calls == []
    assert shown == []
    assert not os.path.exists(trainer.outbox.folder)


def test_a_file_that_was_changed_in_place_is_not_sent(wandb_server, tmp_path, shown):
    trainer = Trainer(tmp_path)
    gate = threading.Event()
    wandb_server.faults.fault = lambda name: gate.wait(60) and None
    for n in range(3):
        trainer.save(b"%d" % n)
    entry = trainer.outbox.entries()[1]
    write(tmp_path / "x", b"other").rename(entry.files[0].file)
    gate.set()
    trainer.uploads.finish()
    assert "changed in place" in shown[0]
    assert "one checkpoint is not in" in shown[-1]
    contents = [wandb_server.content(v) for v in wandb_server.versions(trainer.name)]
    assert contents == [{"m.keras": b"0"}, {"m.keras": b"2"}]
    wandb.finish()
    with pytest.raises(Damaged, match="changed in place"):
        list(send_left(trainer.outbox, entry.destination))
    assert trainer.outbox.entries() == [entry]


def test_sync_lets_a_living_run_alone(wandb_server, tmp_path):
    trainer = Trainer(tmp_path)
    wandb_server.faults.fault = lambda name: "503" if name == "createArtifact" else None
    trainer.save(b"0")
    [entry] = trainer.outbox.entries()
    while not wandb_server.faults.calls.count("createArtifact"):
        pass
    assert list(send_left(trainer.outbox, entry.destination)) == []
    wandb_server.faults.fault = lambda name: None
    trainer.uploads.finish()
    trainer.is_on(wandb_server)


def test_whether_a_server_answers(wandb_server):
    def answer(url):
        return answers(sdk.Place(url, "", "p", "r"))

    assert answer(wandb_server.url)
    # A certificate that only wandb knows is no outage; here there is no TLS at all.
    assert answer(wandb_server.url.replace("http:", "https:"))
    for fault in ("away", "503"):
        wandb_server.faults.fault = lambda name, fault=fault: fault
        assert not answer(wandb_server.url), "though something listens there"
    wandb_server.stop()
    assert not answer(wandb_server.url)
    assert not answer(wandb_server.url.replace("http:", "https:"))


@pytest.mark.parametrize("version", ["0.18.7", "0.19.10", "0.9.0rc1"])
def test_an_sdk_that_is_too_old(monkeypatch, version):
    monkeypatch.setattr(wandb, "__version__", version)
    with pytest.raises(InvalidInput, match=rf"needs 0\.19\.11.*Received: wandb {version}"):
        sdk.active_run()


def test_no_run(wandb_server):
    with pytest.raises(NoActiveRun, match=r"wandb.init\(\).*kept.ModelCheckpoint"):
        sdk.active_run()


def test_all_who_upload_to_a_run_share_one_sender(wandb_server):
    run = wandb.init(project="p")
    first, second = (uploads_of(run) for _ in range(2))
    assert first is second
    run.finish()
    assert uploads_of(wandb.init(project="p")) is not first
