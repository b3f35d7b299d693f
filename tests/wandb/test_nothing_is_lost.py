"""Training that is killed, or whose server is away: after kept sync every checkpoint is on W&B.

A checkpoint counts as reported when the callback has said that it is finished. Each of those has to
be on the server, once, with the bytes of the local file, in order and with its aliases; that one
more is there, which was safe and not reported yet when the process died, is no fault.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kept.mirrors.outbox import Outbox

pytest.importorskip("wandb")
SCRIPT = Path(__file__).with_name("train.py")
KEPT = [sys.executable, "-c", "from kept.cli.main import main; main()"]
REPORTED = re.compile(r"finished saving model to (model-(\d+)\.keras)")


class Training:
    """A run of train.py in a folder, and what it has reported."""

    def __init__(self, server, folder, epochs=4, end="", **environment):
        self.server, self.folder = server, folder
        self.lines = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(epochs), end],
            cwd=folder,
            env=os.environ | {"KEPT_OUTBOX": str(folder / "outbox")} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def wait_for(self, text):
        with self._changed:
            assert self._changed.wait_for(lambda: text in "".join(self.lines), 120), self.lines

    def end(self, code):
        assert self.process.wait(120) == code, "".join(self.lines)
        self._reader.join()

    def kill(self, number, code):
        self.process.send_signal(number)
        self.end(code)

    @property
    def outbox(self):
        return Outbox(self.folder / "outbox")

    @property
    def reported(self):
        """The files that were reported, by epoch, counted from 0."""
        found = REPORTED.findall("".join(self.lines))
        return {int(epoch) - 1: (self.folder / name).read_bytes() for name, epoch in found}

    @property
    def name(self):
        names = {
            c.name for p in self.server.database.projects.values() for c in p.collections.values()
        }
        [name] = names
        return name

    def is_on_the_server(self):
        versions = self.server.versions(self.name)
        aliases = [alias for version in versions for alias in version.aliases]
        assert len(aliases) == len(set(aliases))
        epochs = [json.loads(version.metadata)["epoch"] for version in versions]
        assert epochs == list(range(len(versions))), "in order, each once"
        contents = [list(self.server.content(version).values()) for version in versions]
        for epoch, data in self.reported.items():
            assert contents[epoch] == [data], "byte-equal"
            assert f"epoch_{epoch}" in versions[epoch].aliases
        assert {"latest", "best"} <= set(versions[-1].aliases)  # the loss of this model only falls
        assert self.outbox.entries() == []
        assert not os.path.exists(self.outbox.folder)
        return versions


def sync(training, *more):
    """Run kept sync in a fresh process, on another day as it were."""
    return subprocess.run(
        [*KEPT, "sync", "--outbox", training.outbox.folder, *more],
        cwd=training.folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout


def stuck(server, call, nth):
    """Have the nth call of a name wait; return when it has begun, and how to let it go on."""
    begun, go_on = threading.Event(), threading.Event()
    seen = iter(range(1_000_000))

    def fault(name):
        if name == call and next(seen) >= nth:
            begun.set()
            go_on.wait(100)
        return

    server.faults.fault = fault
    return begun, go_on


def test_nothing_happens(wandb_server, tmp_path):
    training = Training(wandb_server, tmp_path)
    training.end(0)
    assert len(training.reported) == 4
    versions = training.is_on_the_server()
    assert len(versions) == 4
    assert versions[0].run.state == "finished"


@pytest.mark.parametrize(
    ("number", "call", "nth"),
    [
        (signal.SIGKILL, "upload", 2),
        (signal.SIGTERM, "upload", 2),
        (signal.SIGKILL, "commitArtifact", 1),
    ],
)
def test_killed_in_the_midst_of_an_upload(wandb_server, tmp_path, number, call, nth):
    begun, go_on = stuck(wandb_server, call, nth)
    training = Training(wandb_server, tmp_path, epochs=4)
    training.wait_for("Epoch 4: finished saving")
    assert begun.wait(60)
    training.process.send_signal(number)
    try:
        training.process.wait(20)
    except subprocess.TimeoutExpired:  # wandb waits for its upload: what a scheduler does then
        training.process.kill()
        training.process.wait()
    go_on.set()
    wandb_server.faults.fault = lambda name: None
    assert len(training.reported) == 4
    assert len(training.outbox.entries()) >= 2
    sync(training)
    assert len(training.is_on_the_server()) == 4
    sync(training)
    assert len(training.is_on_the_server()) == 4


def test_killed_again_during_kept_sync(wandb_server, tmp_path):
    begun, go_on = stuck(wandb_server, "upload", 0)
    training = Training(wandb_server, tmp_path)
    training.wait_for("Epoch 4: finished saving")
    training.kill(signal.SIGKILL, -signal.SIGKILL)
    go_on.set()
    for nth in (1, 3):
        begun, go_on = stuck(wandb_server, "commitArtifact", nth - 1)
        syncing = subprocess.Popen(
            [*KEPT, "sync", "--outbox", training.outbox.folder], cwd=tmp_path
        )
        assert begun.wait(60)
        syncing.kill()
        syncing.wait()
        go_on.set()
    wandb_server.faults.fault = lambda name: None
    sync(training)
    assert len(training.is_on_the_server()) == 4


def test_the_server_away_for_the_whole_run(wandb_server, tmp_path):
    away = threading.Event()
    wandb_server.faults.fault = lambda name: "away" if away.is_set() else None
    training = Training(wandb_server, tmp_path, epochs=4)
    while "upsertBucket" not in wandb_server.faults.calls:  # wandb.init alone needs the server
        assert training.process.poll() is None, training.lines
    away.set()
    training.wait_for("fit is over")
    # A busy machine may not have come to the end of the first attempt.
    assert "".join(training.lines).count("fails, training goes on") <= 1
    assert f"kept sync --outbox {training.outbox.folder}" in "".join(training.lines)
    training.kill(signal.SIGKILL, -signal.SIGKILL)  # wandb itself would wait for its server
    away.clear()
    status = json.loads(sync(training, "--status", "--json"))
    assert [(s["versions"], s["artifact"][:4]) for s in status] == [(4, "run_")]
    sync(training)
    assert len(training.is_on_the_server()) == 4
    assert training.server.versions(training.name)[0].run.state == "failed"


@pytest.mark.parametrize("end", ["finish", "raise"])
def test_other_ends(wandb_server, tmp_path, end):
    training = Training(wandb_server, tmp_path, end=end)
    training.end(1 if end == "raise" else 0)
    if training.outbox.entries():
        sync(training)
    assert len(training.is_on_the_server()) == 4


def test_offline(wandb_server, tmp_path):
    training = Training(wandb_server, tmp_path, WANDB_MODE="offline")
    training.end(0)
    assert "kept sync --outbox" in "".join(training.lines)
    assert wandb_server.faults.calls == []
    sync(training)
    assert len(training.is_on_the_server()) == 4


def test_disabled(wandb_server, tmp_path):
    training = Training(wandb_server, tmp_path, WANDB_MODE="disabled")
    training.end(0)
    assert wandb_server.faults.calls == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"model-0{n}.keras" for n in range(1, 5)
    ]
