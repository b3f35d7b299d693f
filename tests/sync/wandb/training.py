"""A training run as a process of its own, what it has reported, and what W&B then has of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from kept.sync.outbox.outbox import Outbox

SCRIPT = Path(__file__).with_name("train.py")
KEPT = [sys.executable, "-c", "from kept.cli.main import main; main()"]
REPORTED = re.compile(r"finished saving model to (model-(\d+)\.keras)")
PATIENCE = 180  # seconds until a process that hangs is given up


class Training:
    """A run of train.py in a folder, and what it has reported."""

    def __init__(self, server, folder, epochs=4, end="", edition="keras", **environment):
        self.server, self.folder = server, folder
        self.lines = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(epochs), end, edition],
            cwd=folder,
            env=os.environ | {"KEPT_OUTBOX": str(folder / "outbox")} | environment,
            stdin=subprocess.DEVNULL,
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
        with self._changed:
            self._changed.notify_all()

    @property
    def output(self):
        return "".join(self.lines)

    def wait_for(self, text):
        def over():
            return text in self.output or not self._reader.is_alive()

        with self._changed:
            self._changed.wait_for(over, PATIENCE)
            assert text in self.output, self.output

    def end(self, code):
        try:
            assert self.process.wait(PATIENCE) == code, self.output
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end; so far:\n{self.output}") from None
        self._reader.join()

    def kill(self, number, code):
        self.process.send_signal(number)
        self.end(code)

    def stop(self):
        """End it, whatever it does: a living one would log to the server of the next test."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    def kill_as_a_scheduler_does(self, number):
        """Send a signal, and SIGKILL to a process that does not follow it soon."""
        self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:  # wandb waits for its upload
            self.process.kill()
            self.process.wait()
        self._reader.join()

    @property
    def outbox(self):
        return Outbox(self.folder / "outbox")

    @property
    def reported(self):
        """The files that were reported, by epoch, counted from 0."""
        found = REPORTED.findall(self.output)
        return {int(epoch) - 1: (self.folder / name).read_bytes() for name, epoch in found}

    @property
    def name(self):
        names = {
            c.name for p in self.server.database.projects.values() for c in p.collections.values()
        }
        [name] = names
        return name

    def is_on_the_server(self):
        """Check that all that was reported is there, once, in order; return the versions."""
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
    done = subprocess.run(
        [*KEPT, "sync", "--outbox", training.outbox.folder, *more],
        cwd=training.folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stuck(server, call, nth):
    """Have the nth call of a name wait; return when it has begun, and how to release it."""
    begun, release = threading.Event(), threading.Event()
    seen = iter(range(1_000_000))

    def fault(name):
        if name == call and next(seen) >= nth:
            begun.set()
            release.wait(PATIENCE)

    server.faults.fault = fault
    return begun, release


def killed_in_the_midst_of_an_upload(server, training, number, begun, release):
    """Kill a training of 4 epochs while an upload is stuck, and see kept sync bring all of it."""
    training.wait_for("Epoch 4: finished saving")
    assert begun.wait(PATIENCE), training.output
    if number == signal.SIGKILL:
        training.kill(number, -number)
    else:
        training.kill_as_a_scheduler_does(number)
    release.set()
    server.faults.fault = lambda name: None
    assert len(training.reported) == 4
    assert len(training.outbox.entries()) >= 2
    for _ in range(2):
        sync(training)
        assert len(training.is_on_the_server()) == 4


def trained_while_the_server_is_away(server, start):
    """Break all connections from the first upload on, and until the process is dead."""
    away = threading.Event()

    def fault(name):
        if name == "createArtifact":
            away.set()
        return "away" if away.is_set() else None

    server.faults.fault = fault
    training = start()
    training.wait_for("fit is over")
    training.wait_for("failed; training continues")  # by another thread, maybe a moment later
    assert training.output.count("failed; training continues") == 1, training.output
    assert f"kept sync --outbox {training.outbox.folder}" in training.output
    training.kill(signal.SIGKILL, -signal.SIGKILL)  # wandb itself would wait for its server
    server.faults.fault = lambda name: None
    status = json.loads(sync(training, "--status", "--json"))
    assert [(s["versions"], s["artifact"][:4]) for s in status] == [(4, "run_")]
    sync(training)
    assert len(training.is_on_the_server()) == 4
    assert server.versions(training.name)[0].run.state == "failed"
