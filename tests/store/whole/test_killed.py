"""kept rm and kept mv are killed at any moment, and continue when they are called again."""

from __future__ import annotations

import itertools
import random
import signal
import time

import pytest

import kept
from kept.errors import ArtifactNotFound
from tests.helpers import start

REMOVES = """
import sys, kept
store = kept.open_store(sys.argv[1])
print("ready", flush=True)
store.remove_artifacts("run_*")
print("done", flush=True)
"""
RENAMES = """
import sys, kept
store = kept.open_store(sys.argv[1])
print("ready", flush=True)
for n in range(int(sys.argv[2]), 10**6):
    old, new = ("m", "net")[:: 1 if n % 2 == 0 else -1]
    try:
        store.rename(old, new)
    except kept.KeptError:
        pass
    print("moved", flush=True)
"""


def content(text):
    return kept.MemoryFile("f", [text.encode()])


def kill_after(process, seconds):
    assert process.line() == "ready\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.integration
def test_a_killed_removal_continues(tmp_path):
    store = kept.open_store(tmp_path)
    names = [f"run_{n:03}" for n in range(400)]
    for name in names:
        store.log_artifact(name, content(name))
    chance, left = random.Random(0), [len(names)]
    while left[-1]:
        kill_after(start(REMOVES, tmp_path), chance.uniform(0.02, 0.15))
        fresh = kept.open_store(tmp_path)
        left.append(len(fresh.artifacts()))
        assert left[-1] <= left[-2]
        assert fresh.problems() == []
    assert len(set(left)) > 2, "no removal was interrupted"
    assert len(kept.open_store(tmp_path).restore_artifacts("run_*")) == 400
    assert [len(kept.open_store(tmp_path).versions(name)) for name in names] == [1] * 400


@pytest.mark.integration
def test_a_killed_renaming_loses_nothing(tmp_path):
    store = kept.open_store(tmp_path)
    for n in range(12):
        store.log_artifact("m", content(f"{n}"), aliases=[f"a{n}"])
    store.delete("m:v3", force=True)
    chance = random.Random(0)
    for attempt in itertools.count():
        fresh = kept.open_store(tmp_path)
        alive = {artifact.name for artifact in fresh.artifacts()}
        assert alive, "no version may ever be out of reach"
        for name in alive & {"m", "net"} if len(alive) == 1 else ():
            assert [v.index for v in fresh.versions(name)] == [0, 1, 2, *range(4, 12)]
            assert fresh.version(f"{name}:a7").index == 7
        assert fresh.problems() == []
        if attempt == 25:
            break
        kill_after(start(RENAMES, tmp_path, attempt), chance.uniform(0.01, 0.3))
    for old, new in (("m", "net"), ("net", "m")):
        try:
            kept.open_store(tmp_path).rename(old, new)
        except ArtifactNotFound:
            continue
    fresh = kept.open_store(tmp_path)
    [artifact] = fresh.artifacts()
    assert [v.index for v in artifact.versions()] == [0, 1, 2, *range(4, 12)]
    fresh.gc(grace=0)
    assert fresh.verify().problems == []
