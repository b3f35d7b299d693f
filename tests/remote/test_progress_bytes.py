"""The progress of bytes is reported while they move, within a blob too, on 80 columns."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import re
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

import kept
from kept import progress
from kept.bucket.object_storage import bucket as object_bucket
from kept.sync import courier
from kept.sync.mirror.mirrors import Mirrors
from kept.sync.mirror.replicate import Sync
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
from kept.training.destinations.remote_store import RemoteDestination
from tests.helpers import hdf5, tree, write

MIB = 1024 * 1024
SIZE = 16.78  # MB of the file below


class Reports(list):
    """A progress function that keeps the reports, and checks that they make sense."""

    def __bool__(self):
        return True

    def __call__(self, done, total):
        assert 0 <= done <= total
        assert not len(self) or done >= self[-1][0]
        self.append((done, total))

    @property
    def size(self):
        """All of it, in MB; the headers of blobs count."""
        assert self[-1][0] == self[-1][1]
        return round(self[-1][0] / 1e6, 2)


@pytest.fixture
def big(tmp_path):
    """A file of a tensor that is one blob, of three parts and a bit, and of a small rest."""
    return write(tmp_path / "big.h5", tensor(1))


def tensor(seed):
    return hdf5({"a": np.random.default_rng(seed).random(4 * MIB, np.float32)})


def test_within_a_blob(s3, proxy, big, tmp_path):
    reports, store = Reports(), kept.open_store(s3)
    with proxy.counted() as made:
        version = store.log_artifact("m", big, progress=reports)
    steps = [b - a for (a, _), (b, _) in itertools.pairwise([(0, 0), *reports])]
    assert max(steps) <= 2 * object_bucket._PART
    assert reports.size == SIZE
    assert sum("partNumber" in request.path for request in made) == 4
    assert version.verify().problems == []
    assert tree(version.download(tmp_path / "out"))["big.h5"] == big.read_bytes()
    with proxy.counted() as made:  # who does not watch pays one request
        store.log_artifact("m", write(tmp_path / "other.h5", tensor(2)))
    assert not any("partNumber" in request.path for request in made)


def test_what_is_there_already_is_not_counted(s3, big, tmp_path):
    store = kept.open_store(s3)
    store.log_artifact("m", big)
    reports = Reports()
    folder = tmp_path / "both"
    write(folder / "more.bin", os.urandom(2 * MIB))
    big.rename(folder / "big.h5")
    store.log_artifact("m", folder, progress=reports)
    assert reports.size == 2.1
    assert reports[0][0] == 0
    again = Reports()
    store.log_artifact("m", folder, progress=again)
    assert again.size == 0


def test_sync_either_way(s3, big, tmp_path):
    here, there = kept.open_store(tmp_path / "here"), kept.open_store(s3)
    here.log_artifact("m", big)
    here.log_artifact("m", [big, write(tmp_path / "f", b"x" * MIB)])
    up, down = Reports(), Reports()
    Sync(here, there, "m").run(progress=up, in_parts=True)
    assert up[0][0] < 16 * MIB
    assert up.size == 17.83
    Sync(there, kept.open_store(tmp_path / "back"), "m").run(progress=down)
    assert down.size == 17.83


def test_from_the_outbox(s3, big, tmp_path):
    delivery = Delivery(kept.open_store(s3), Outbox(tmp_path / "outbox"))
    for alias in ("a", "b"):
        label = {"type": "model", "aliases": [alias], "metadata": {}}
        delivery.add("m", {"big.h5": str(big)}, label)
    reports = Reports()
    delivery.send(reports, in_parts=True)
    assert reports[0][0] < 16 * MIB
    assert reports.size == SIZE  # the second one was the same


def on_a_terminal(*args):
    """Run kept on a terminal of 80 columns; return what came there, as plain text."""
    parent, child = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {"TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "kept", *map(str, args)],
        stdout=child, stderr=child, env=environment,
    )  # fmt: skip
    os.close(child)
    shown = b""
    try:
        while data := os.read(parent, 65536):
            shown += data
    except OSError:  # how a terminal reports its end
        pass
    os.close(parent)
    assert process.wait(60) == 0, shown.decode()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def test_the_bar_at_80_columns(s3, proxy, big, tmp_path):
    proxy.seconds = 1.2
    proxy.fault = lambda method, path: "slow" if "partNumber" in path else None
    shown = on_a_terminal("--store", s3, "put", "a-model-with-a-rather-long-name.of-its-own", big)
    lines = [line for line in re.split(r"[\r\n]+", shown) if "MB/s" in line or "kB/s" in line]
    form = re.compile(r"Storing a-m\S*…\S+ .* [\d.]+/16\.8 MB [\d.]+ [kM]B/s 0:")
    assert any(map(form.search, lines)), lines
    assert max(map(len, lines)) <= 80
    assert "v0" in shown


def test_in_a_pipe_there_are_lines_for_long_work_only(s3, big, tmp_path):
    code = "import sys, kept.progress as p; p._PAUSE = float(sys.argv.pop(1)); "
    code += "from kept.cli.main import main; main()"
    for pause, lines in (("0", True), ("30", False)):
        place = tmp_path / f"store{pause}"
        command = [sys.executable, "-c", code, pause, "--store", s3, "get", "m", place, "--json"]
        if lines:
            kept.open_store(s3).log_artifact("m", big)
        done = subprocess.run(list(map(str, command)), capture_output=True, check=True, timeout=60)
        assert json.loads(done.stdout)["reference"] == "m:v0"
        last = rb"Getting m:v0: 16.8 of 16.8 MB, [\d.]+ MB/s, 0:00:00 left\n"
        found = re.findall(last, done.stderr)
        assert bool(found) == bool(done.stderr) == lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("way", ["store", "mirror"])
def test_the_end_of_a_fit(s3, proxy, big, tmp_path, monkeypatch, way):
    """What is waited for is shown, where the callback has its store there, or a mirror."""
    terminal = Terminal()
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=terminal))
    monkeypatch.setattr(progress, "_PATIENCE", 0.01)
    monkeypatch.setattr(courier, "NOTICE_SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)  # for the outbox
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    kept.open_store(s3).create()
    arrived = threading.Event()
    proxy.seconds = 1.5
    proxy.fault = lambda method, path: "slow" if method == "PUT" and "/log/" in path else None
    if way == "store":
        options = types.SimpleNamespace(resume=None, mirror=None, aliases=())
        arrivals = types.SimpleNamespace(arrived=lambda version: arrived.set())
        found = RemoteDestination(kept.open_store(s3), options, arrivals)
        label = {"type": "model", "aliases": [], "metadata": {}}
        found._delivery.add("m", {"big.h5": str(big)}, label)
        found._courier.wake(s3)
    else:
        here = kept.open_store(tmp_path / "here")
        here.log_artifact("m", big)
        found = Mirrors(here, s3)
        found.begin("m")
    found.finish()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert re.search(r"To the (store|mirror).*16\.8/16\.8 MB", shown), shown
    assert len(kept.open_store(s3).versions("m")) == 1
    assert arrived.is_set() == (way == "store")
