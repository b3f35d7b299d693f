"""kept verify."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.helpers import start


def test_a_sound_store(run, store):
    assert run("verify").stdout == "3 versions, 3.0 kB read: no damage\n"
    assert run("verify", "mnist:best").stdout == "1 version, 1.0 kB read: no damage\n"
    assert run.json("verify") == {
        "ok": True, "versions": 3, "chunks": 3, "bytes": 3003, "blobs": 3, "skipped": 0,
        "all_blobs": 3, "problems": [], "unread": [],
    }  # fmt: skip


def test_damage_names_the_version(run, damaged):
    problem, summary = run("verify", exit=4).stdout.splitlines()
    assert problem.startswith(f"{damaged}: ")
    assert summary == "3 versions, 3.0 kB read: 1 problem"
    report = run.json("verify", damaged, exit=4)
    assert (report["ok"], report["versions"]) == (False, 1)
    [problem] = report["problems"]
    assert problem["where"] == damaged
    assert problem["key"].startswith("blobs/")
    assert problem["key"] in problem["message"]
    run("verify", "mnist:v0")


def test_a_sample(run, store):
    sample, summary = run("verify", "--sample", "50%").stdout.splitlines()
    assert sample == "Random sample: 2 of 3 blobs"
    assert summary == "3 versions, 2.0 kB read: no damage"
    report = run.json("verify", "--sample", "0.01")
    assert (report["blobs"], report["all_blobs"]) == (1, 3)


def test_newer_versions(run, store):
    assert run("verify", "--newer-than", "7d").stdout.startswith("3 versions")
    assert run("verify", "--newer-than", "0s").stdout.startswith("0 versions")


@pytest.mark.parametrize(
    "option", [("--sample", "0%"), ("--newer-than", "soon"), ("--limit-rate", "fast")]
)
def test_options_that_are_not_valid(run, store, option):
    assert f"Received: '{option[1]}'" in run("verify", *option, exit=2).stderr


def test_ctrl_c_and_resume(run, store, tmp_path, monkeypatch):
    """A real process at 100 bytes a second: it has read one blob of three, and waits."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code = "import sys; from kept.cli.main import main; main()"
    args = ("--store", store.location, "verify", "--limit-rate", "100B/s")
    process = start(code, *args)
    limit = time.monotonic() + 60
    while not list(Path("cache").glob("kept/verify-*")) and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(0.5)  # now, or after the first blob: the result differs by one blob
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    read, _, rest = process.said().partition(" of 3 blobs are read.")
    assert "--resume" in rest
    assert "Interrupted." in rest
    continued, summary = run("verify", "--resume").stdout.splitlines()
    many = "1 blob" if read == "1" else f"{read} blobs"
    assert continued.startswith(f"Skipped: {many} that the interrupted check, begun ")
    assert summary == f"3 versions, {3 - int(read)}.0 kB read: no damage"
    assert run("verify").stdout == "3 versions, 3.0 kB read: no damage\n"
