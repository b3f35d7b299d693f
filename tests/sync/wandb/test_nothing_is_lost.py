"""Training that is killed, or whose server is away: after kept sync every checkpoint is on W&B.

A checkpoint counts as reported when the callback has said that it is finished. Each of those has to
be on the server, once, with the bytes of the local file, in order and with its aliases; that one
more is there, which was safe and not reported yet when the process died, is no fault.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess

import pytest

from tests.sync.wandb.training import (
    KEPT,
    PATIENCE,
    killed_in_the_midst_of_an_upload,
    stuck,
    sync,
    trained_while_the_server_is_away,
)

pytest.importorskip("wandb")


def test_nothing_happens(train):
    training = train()
    training.end(0)
    assert len(training.reported) == 4
    versions = training.is_on_the_server()
    assert len(versions) == 4
    assert versions[0].run.state == "finished"


@pytest.mark.parametrize(
    ("number", "call", "nth"),
    [
        (signal.SIGKILL, "upload", 2),
        pytest.param(signal.SIGTERM, "upload", 2, marks=pytest.mark.integration),
        pytest.param(signal.SIGKILL, "commitArtifact", 1, marks=pytest.mark.integration),
    ],
)
def test_killed_in_the_midst_of_an_upload(wandb_server, train, number, call, nth):
    begun, release = stuck(wandb_server, call, nth)
    killed_in_the_midst_of_an_upload(wandb_server, train(), number, begun, release)


@pytest.mark.integration
def test_killed_again_during_kept_sync(wandb_server, train, tmp_path):
    begun, release = stuck(wandb_server, "upload", 0)
    training = train()
    training.wait_for("Epoch 4: finished saving")
    training.kill(signal.SIGKILL, -signal.SIGKILL)
    release.set()
    for nth in (1, 3):
        begun, release = stuck(wandb_server, "commitArtifact", nth - 1)
        syncing = subprocess.Popen(
            [*KEPT, "sync", "--outbox", training.outbox.folder], cwd=tmp_path
        )
        assert begun.wait(PATIENCE)
        syncing.kill()
        syncing.wait()
        release.set()
    wandb_server.faults.fault = lambda name: None
    sync(training)
    assert len(training.is_on_the_server()) == 4


def test_the_server_away_for_the_whole_run(wandb_server, train):
    trained_while_the_server_is_away(wandb_server, train)


@pytest.mark.parametrize("stands_still", [pytest.param(False, marks=pytest.mark.integration), True])
def test_sigterm_between_batches(wandb_server, train, stands_still):
    """The run is saved once more; that checkpoint is on W&B too, if need be by kept sync."""
    begun, release = stuck(wandb_server, "upload" if stands_still else "nothing", 0)
    training = train(epochs=3, end="term")
    if stands_still:
        training.wait_for("leaving")
        assert begun.wait(PATIENCE), training.output
        training.kill(signal.SIGKILL, -signal.SIGKILL)  # the grace of the scheduler is over
        assert len(training.outbox.entries()) == 3
        release.set()
        wandb_server.faults.fault = lambda name: None
    else:
        training.end(128 + signal.SIGTERM)
    assert "SIGTERM, saving at the end of this batch" in training.output
    assert re.search(r"kept: saved as run_\w+_model in the W&B run", training.output)
    if training.outbox.entries():
        sync(training)
    *epochs, last = training.server.versions(training.name)
    own = [set(v.aliases) - {"best", "latest"} for v in (*epochs, last)]
    assert own == [{"epoch_0"}, {"epoch_1"}, {"epoch_2_batch_2"}]
    assert {"latest"} <= set(last.aliases)
    assert "best" in epochs[-1].aliases, "a save for resuming is never the best"
    metadata = json.loads(last.metadata)
    assert (metadata["epoch"], metadata["batch"], metadata["step"]) == (2, 2, 11)
    [data] = wandb_server.content(last).values()
    assert data == (training.folder / "model-03.keras").read_bytes()
    assert training.outbox.entries() == []


@pytest.mark.integration
def test_finish_right_after_fit(train):
    training = train(end="finish")
    training.end(0)
    if training.outbox.entries():
        sync(training)
    assert len(training.is_on_the_server()) == 4


def test_an_exception_ends_the_process_while_w_and_b_takes_nothing(wandb_server, train):
    wandb_server.faults.fault = lambda name: "403" if name == "createArtifact" else None
    training = train(end="raise")
    training.end(1)
    assert len(training.outbox.entries()) == 4
    assert training.output.count("kept sync --outbox") == 1
    wandb_server.faults.fault = lambda name: None
    sync(training)
    assert len(training.is_on_the_server()) == 4


def test_offline(wandb_server, train):
    training = train(WANDB_MODE="offline")
    training.end(0)
    assert "kept sync --outbox" in training.output
    assert wandb_server.faults.calls == []
    sync(training)
    assert len(training.is_on_the_server()) == 4


def test_disabled(wandb_server, train, tmp_path):
    training = train(WANDB_MODE="disabled")
    training.end(0)
    assert wandb_server.faults.calls == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"model-0{n}.keras" for n in range(1, 5)
    ]
