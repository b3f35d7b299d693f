"""gc beside writers in other processes: many of them, stopped ones, killed ones."""

from __future__ import annotations

import os
import random
import signal
import time
from datetime import timedelta

import pytest

import kept
from kept.errors import ArtifactNotFound
from kept.store.gc import collector
from kept.store.log.fence import round_of
from tests.helpers import finish, start, tree, write

# Each version is a few words, so what one writer deletes another one stores again all the time.
WRITER = """
import os, random, sys, time
import kept
from kept.errors import NotFound
from kept.store.content import packing
packing.PACK_BELOW = 100
location, folder, who = sys.argv[1:4]
choose = random.Random(int(who))
store, folder = kept.open_store(location), os.path.join(folder, who)
os.makedirs(folder, exist_ok=True)
words = {w: (w * 200)[:190 if w < "f" else 40].encode() for w in "abcdefghij"}
for word, data in words.items():
    with open(os.path.join(folder, word), "wb") as file:
        file.write(data)
print("ready", flush=True)
while not os.path.exists(os.path.join(folder, "stop")):
    name = choose.choice(["shared", "own" + who])
    chosen = sorted(choose.sample(sorted(words), 4))
    paths = [os.path.join(folder, word) for word in chosen]
    version = store.log_artifact(name, paths, metadata={"words": chosen})
    try:
        old = store.version(f"{name}:v{choose.randrange(version.index + 1)}")
        store.delete(old.reference, force=True)
        if choose.random() < 0.3:
            store.undelete(old.reference)
        if choose.random() < 0.1:
            store.prune(name, kept.Keep(last=20))
    except NotFound:
        pass
    print(version.reference, flush=True)
    time.sleep(choose.uniform(0, 0.05))
"""

COLLECTOR = """
import sys, kept
from datetime import timedelta
from kept.store.gc.collector import collect_ruled_out
from kept.store.gc.owned import OwnedBlobs
store, grace = kept.open_store(sys.argv[1]), timedelta(seconds=float(sys.argv[2]))
owned = OwnedBlobs(store.logs, "shared")
print("ready", flush=True)
while True:
    owned.collect(grace)
    collect_ruled_out(store.logs, "shared", grace)
    print(store.gc(grace=grace).bytes, flush=True)
"""


def everything_exists(store, tmp_path):
    """Every version can be restored, and is what it was; return how many there are."""
    report = store.verify()
    assert report.problems == []
    for artifact in store.artifacts():
        for version in artifact.versions()[-3:]:
            found = tree(version.download(tmp_path / "out" / version.reference.replace(":", "-")))
            assert sorted(found) == version.metadata["words"]
            for word, data in found.items():
                assert data == (word * 200)[: 190 if word < "f" else 40].encode()
    return report.versions


def nothing_else_exists(store, monkeypatch):
    monkeypatch.setattr(collector, "ABANDONED", timedelta(0))
    store.gc(grace=0)
    store.gc(grace=0)
    needed = set()
    for artifact in store.artifacts():
        for version in artifact.versions():
            needed |= {f"blobs/{c.blob[:2]}/{c.blob}" for c in version.manifest.chunks()}
            needed.add(f"manifests/{version.record.manifest[:2]}/{version.record.manifest}.json")
    assert {i.key for top in ("blobs/", "manifests/") for i in store.bucket.items(top)} == needed
    assert [key for key in store.bucket.keys("gc/") if round_of(key) is None] == []


def run(location, tmp_path, monkeypatch, seconds, writers=8, most_killed=0.4):
    """Let writers and a collector work together; kill one or the other now and then."""
    folder = tmp_path / "words"
    started = {str(n): start(WRITER, location, folder, n) for n in range(writers)}
    try:
        for writer in started.values():
            assert writer.line() == "ready\n"
        disturb(started, location, folder, seconds, most_killed)
        for who in started:
            write(folder / who / "stop", b"")
        logged = [line for writer in started.values() for line in finish(writer)]
    finally:
        for writer in started.values():
            writer.kill()
    assert len(logged) > writers
    store = kept.open_store(location)
    assert everything_exists(store, tmp_path) >= 1
    nothing_else_exists(store, monkeypatch)
    everything_exists(store, tmp_path)


def disturb(started, location, folder, seconds, most_killed):
    """Run one collector after the other, and kill these and writers, until each was done once."""
    choose = random.Random(7)
    collections = killed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or not collections or not killed:
        collector = start(COLLECTOR, location, choose.choice([0, 0, 0.05]))
        try:
            assert collector.line() == "ready\n"
            if choose.random() < 0.5:
                collector.line()  # at least one that comes to its end
                collections += 1
            time.sleep(choose.uniform(0, most_killed))
            assert collector.poll() is None, collector.said()
        finally:
            kill(collector)
        for writer in started.values():
            assert writer.poll() is None, writer.said()
        if choose.random() < 0.3:
            who = choose.choice(sorted(started))
            kill(started[who])
            killed += 1
            started[who] = start(WRITER, location, folder, who)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_gc_beside_eight_writers_for_some_seconds(tmp_path, monkeypatch):
    run(tmp_path / "store", tmp_path, monkeypatch, seconds=6)


def test_gc_beside_writers_on_s3(s3, tmp_path, monkeypatch):
    run(s3, tmp_path, monkeypatch, seconds=1, writers=3, most_killed=1)


@pytest.mark.integration
@pytest.mark.timeout(600)
@pytest.mark.parametrize("where", ["folder", "s3"])
def test_gc_beside_eight_writers_for_a_minute(where, s3, tmp_path, monkeypatch):
    location = tmp_path / "store" if where == "folder" else s3
    run(location, tmp_path, monkeypatch, seconds=60, most_killed=1 if where == "folder" else 3)


STOPPED = """
import os, signal, sys
import kept
from kept.bucket.local import LocalBucket
real = LocalBucket.put_if_absent
def stop(self, key, parts):
    if "/log/" in key and not stopped:
        stopped.append(key)
        os.kill(os.getpid(), signal.SIGSTOP)
    real(self, key, parts)
stopped = []
LocalBucket.put_if_absent = stop
version = kept.open_store(sys.argv[1]).log_artifact(sys.argv[2], sys.argv[3])
print(version.reference, bool(stopped), flush=True)
"""


@pytest.mark.parametrize("name", ["m", "new"])
def test_a_writer_stopped_right_before_its_commit_builds_anew(tmp_path, name):
    """It has found its blobs in place; while it is stopped, gc deletes every one of them."""
    path = write(tmp_path / "model.bin", os.urandom(3_000_000))
    store = kept.open_store(tmp_path / "store")
    first = store.log_artifact("m", path)
    store.log_artifact("m", write(tmp_path / "other", b"other"))
    store.delete(first.reference)
    writer = start(STOPPED, tmp_path / "store", name, path)
    os.waitpid(writer.pid, os.WUNTRACED)
    found = store.gc(grace=0)
    assert found.bytes > 3_000_000
    with pytest.raises(ArtifactNotFound):
        store.artifact("new")
    writer.send_signal(signal.SIGCONT)
    assert finish(writer) == ["m:v2 True" if name == "m" else "new:v0 True"]
    version = store.version(name)
    assert tree(version.download(tmp_path / "out"))["model.bin"] == path.read_bytes()
    assert store.verify().problems == []
