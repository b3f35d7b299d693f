"""The alias best on W&B, when several processes log to one artifact."""

from __future__ import annotations

import json

import pytest

from kept.sync.wandb import sdk, server
from kept.sync.wandb.resumed import send_left
from tests.sync.wandb.trainer import Trainer

wandb = pytest.importorskip("wandb")
pytestmark = pytest.mark.usefixtures("quick")


def scored(value, monitor="loss"):
    metadata = {"monitor": monitor, "mode": "min", "value": value}
    return {"aliases": ["latest", "best"], "metadata": metadata}


def best(wandb_server, name="shared"):
    versions = wandb_server.versions(name)
    [value] = [json.loads(v.metadata)["value"] for v in versions if "best" in v.aliases]
    return value


def job(folder, *saves, name="shared"):
    """One job of a sweep: each believes that its own are the best."""
    trainer = Trainer(folder)
    trainer.name = name
    for n, save in enumerate(saves):
        trainer.save(b"%s %d" % (trainer.run.id.encode(), n), **save)
    trainer.uploads.finish()
    trainer.run.finish()


def test_jobs_of_a_sweep_that_share_an_artifact(wandb_server, tmp_path):
    for values in ((0.5, 0.4), (0.9, 0.8), (0.3,), (0.7, 0.35)):
        job(tmp_path, *map(scored, values))
    assert len(wandb_server.versions("shared")) == 7
    assert best(wandb_server) == 0.3
    job(tmp_path, scored(9.0, "accuracy"))
    assert best(wandb_server) == 9.0, "another metric has a best of its own"


def test_two_jobs_at_the_same_moment(wandb_server, tmp_path, monkeypatch):
    """Each asks the server before the other one has logged."""
    job(tmp_path, scored(0.9))
    log, better = sdk.log, []

    def overtaken(run, entry, aliases, **more):
        if not better:
            better.append(entry)
            before = run.log_artifact(_artifact(0.3), aliases=["best"])
            before.wait()
        log(run, entry, aliases, **more)

    monkeypatch.setattr(sdk, "log", overtaken)
    job(tmp_path, scored(0.6))
    assert best(wandb_server) == 0.3


def _artifact(value):
    metadata = scored(value)["metadata"]
    artifact = wandb.Artifact("shared", type="model", metadata=metadata)
    with artifact.new_file("m.keras") as file:
        file.write(str(value))
    return artifact


def test_a_checkpoint_that_comes_late_from_another_machine(wandb_server, tmp_path):
    """Its process was killed; the run continued elsewhere, and then kept sync sends it."""
    killed = Trainer(tmp_path, mode="offline")
    killed.name = "shared"
    killed.save(b"killed", **scored(0.5))
    wandb.finish()
    job(tmp_path / "elsewhere", scored(0.4))
    [entry] = killed.outbox.entries()
    assert list(send_left(killed.outbox, entry.destination)) == [entry]
    assert best(wandb_server) == 0.4
    newer, late = wandb_server.versions("shared")
    assert (set(newer.aliases), late.aliases) == ({"latest", "best"}, [])


def test_a_server_that_cannot_be_asked(wandb_server, tmp_path, monkeypatch):
    """The decision of the save counts, and the upload is not held up."""

    def denied(*_):
        raise PermissionError("403")

    monkeypatch.setattr(server, "_path", denied)
    job(tmp_path, scored(0.5), scored(0.4))
    assert best(wandb_server) == 0.4
