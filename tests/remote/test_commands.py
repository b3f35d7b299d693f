"""The commands do the same on any store: a folder, S3, memory."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
from click.testing import CliRunner

import kept
from kept.bucket import open as opening
from kept.bucket.memory import MemoryBucket
from kept.cli.main import cli
from tests.helpers import hdf5, tree, write


@pytest.fixture(params=["folder", "s3", "memory"])
def location(request, tmp_path, monkeypatch):
    """A place for a store; one in memory is the same for every command of the test."""
    monkeypatch.chdir(tmp_path)
    if request.param == "s3":
        return request.getfixturevalue("s3")
    if request.param == "folder":
        return str(tmp_path / "store")
    bucket, others = MemoryBucket(), opening.bucket_at
    at = lambda text: bucket if text == "memory:" else others(text)  # noqa: E731
    monkeypatch.setattr("kept.store.open.bucket_at", at)
    return "memory:"


@pytest.fixture
def run(location):
    def run(*args: str, exit: int = 0):
        result = CliRunner().invoke(cli, ["--store", location, *args], prog_name="kept")
        assert result.exit_code == exit, result.output
        return json.loads(result.stdout) if "--json" in args else result.stdout

    return run


def test_the_life_of_an_artifact(run, location, tmp_path):
    data = {n: os.urandom(1_200_000) + b"%d" % n for n in range(3)}
    for n in range(3):
        path = write(tmp_path / "model.bin", data[n])
        shape = run("put", "m", str(path), "-a", f"e{n}", "-m", f"n={n}", "--json")
        assert (shape["reference"], shape["is_new"]) == (f"m:v{n}", True)
    assert not run("put", "m", str(path), "--json")["is_new"]
    [artifact] = run("ls", "--json")
    assert (artifact["name"], artifact["versions"], artifact["latest"]) == ("m", 3, "v2")
    assert [v["metadata"]["n"] for v in run("ls", "m", "--json")] in ([0, 1, 2], [2, 1, 0])
    assert run("show", "m:e1", "--json")["files"] == [{"path": "model.bin", "size": 1_200_001}]
    assert "not uploaded" not in run("ls", "m")
    run("get", "m:e1", "out")
    assert tree(tmp_path / "out") == {"model.bin": data[1]}
    run("alias", "m:v0", "prod")
    assert run("show", "m:prod", "--json")["index"] == 0
    run("rm", "m:v1", "--force")
    assert sorted(v["index"] for v in run("ls", "m", "--json")) == [0, 2]
    run("get", "m:v1", exit=3)
    assert run("verify", "--json")["problems"] == []
    assert kept.open_store(location).verify().versions == 2


def test_room_is_made(run, location, tmp_path):
    """Retention, deletion and its taking back, expiry, what versions take, and smaller forms."""
    base = np.random.default_rng(0).random(500_000, np.float32)
    data = {}
    for n in range(5):
        data[n] = hdf5({"base": base, "head": np.random.default_rng(n).random(300_000, np.float32)})
        path = write(tmp_path / "model.h5", data[n])
        run("put", "m", str(path), "-m", f"epoch={n}", "--json")
    used = run("du", "--json")
    compacted = run("compact", "m", "--json")
    assert 0 < compacted["bytes_after"] < compacted["bytes_before"]
    smaller = run("du", "m", "--json")
    assert smaller["stored"] < used["stored"]
    assert smaller["logical"] == used["logical"] == sum(map(len, data.values()))
    planned = run("prune", "m", "--keep-last", "3", "--dry-run", "--json")
    assert [d["keep"] for d in planned] == [False, False, True, True, True]
    assert len(run("ls", "m", "--json")) == 5
    run("prune", "m", "--keep-last", "3", "--yes")
    assert [v["index"] for v in run("ls", "m", "--json")] == [2, 3, 4]
    assert run("undelete", "m:v1", "--json")["metadata"] == {"epoch": 1}
    assert run("gc", "--json")["bytes"] == 0  # what was deleted a moment ago can be undeleted
    assert run("ttl", "m:v2", "1h", "--json")["expires"]
    run("ttl", "m:v2", "0.01s")
    time.sleep(0.05)
    freed = run("gc", "--grace", "0s", "--json")
    assert freed["bytes"] > 900_000  # the heads of v0 and v2
    assert freed["expired"] == ["m:v2"]
    run("undelete", "m:v0", exit=3)
    assert [v["index"] for v in run("ls", "m", "--json")] == [1, 3, 4]
    for n in (1, 3, 4):
        run("get", f"m:v{n}", f"out{n}")
        assert tree(tmp_path / f"out{n}") == {"model.h5": data[n]}
    assert run("verify", "--json")["problems"] == []
    assert run("gc", "--grace", "0s", "--json")["bytes"] == 0
