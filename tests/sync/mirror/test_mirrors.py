"""Mirrors that follow a store: training never waits, nothing is lost, one message for the user."""

from __future__ import annotations

import os
import signal
import time

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import InvalidInput
from kept.store.receipts import Receipts, receipts
from kept.sync import courier
from kept.sync.mirror.mirrors import Mirror, Mirrors
from tests.helpers import finish, start, write


@pytest.fixture
def store(tmp_path):
    store = kept.open_store(tmp_path / "store")
    store.create()
    return store


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr(courier, "_FIRST_PAUSE", 0.05)


def log(store, tmp_path, n, name="m"):
    path = write(tmp_path / "f", b"%d" % n * 1000)
    return store.log_artifact(name, path, aliases=["best"], metadata={"n": n})


def test_versions_arrive(store, tmp_path, monkeypatch, shown):
    monkeypatch.setattr(courier, "NOTICE_SECONDS", 60)  # a busy machine needs no notice
    target = kept.Store(MemoryBucket())
    mirror = Mirror(store, target)
    mirror.begin("m")
    for n in range(5):
        log(store, tmp_path, n)
        mirror.courier.wake("m")
    mirror.courier.finish()
    assert [v.index for v in target.versions("m")] == [0, 1, 2, 3, 4]
    assert target["m:best"].metadata == {"n": 4}
    assert shown == []
    [receipt] = receipts(store.bucket)
    assert (receipt.artifact, receipt.record, receipt.version) == ("m", 5, 4)


def test_retention_asks_a_mirror_in_memory(store, tmp_path):
    mirror = Mirror(store, kept.Store(MemoryBucket()))
    mirror.begin("m")
    for n in range(3):
        log(store, tmp_path, n)
    mirror.courier.wake("m")
    mirror.courier.finish()
    store.prune("m", kept.Keep(last=1))
    assert [v.index for v in store.versions("m")] == [2]


def test_what_an_earlier_run_left_is_copied_by_the_next(store, tmp_path):
    log(store, tmp_path, 1)
    log(store, tmp_path, 2, "other")
    log(store, tmp_path, 3, "third")
    target = kept.open_store(tmp_path / "target")
    Receipts(store.bucket, target.location).register("m")  # and then the run was killed
    mirror = Mirror(store, target.location)
    mirror.begin("other")
    mirror.courier.finish()
    assert [a.name for a in target.artifacts()] == ["m", "other"]


def test_a_mirror_that_is_away_is_reported_once_and_catches_up(
    store, tmp_path, proxy, s3, quick, quick_pauses, shown
):
    proxy.fault = lambda *_: "away"
    mirror = Mirror(store, s3)
    mirror.begin("m")
    for n in range(3):
        log(store, tmp_path, n)
        mirror.courier.wake("m")
    started = time.monotonic()
    mirror.courier.finish()
    assert time.monotonic() - started < 30
    texts = [text for text in shown if "on their way" not in text]
    assert len(texts) == 2
    assert "training continues, and every version is safe" in texts[0]
    assert "cannot be reached" in texts[0]
    assert texts[1].endswith(f"kept sync {store.location} {s3}")
    proxy.fault = lambda *_: None
    assert mirror.courier.wait(20)
    assert [v.index for v in kept.open_store(s3).versions("m")] == [0, 1, 2]


def test_a_store_is_no_mirror_of_itself_nor_twice_the_same(store, tmp_path):
    with pytest.raises(InvalidInput, match="its own mirror"):
        Mirrors(store, store.location)
    with pytest.raises(InvalidInput, match="same place"):
        Mirrors(store, [tmp_path / "a", str(tmp_path / "a")])
    with pytest.raises(InvalidInput, match="Received"):
        Mirrors(store, "ftp://x")


def test_a_mirror_that_went_its_own_way_does_not_stop_anything(store, tmp_path, shown):
    target = kept.open_store(tmp_path / "target")
    log(target, tmp_path, 100)
    mirror = Mirror(store, target)
    mirror.begin("m")
    log(store, tmp_path, 1)
    mirror.courier.wake("m")
    mirror.courier.finish()
    first, last = shown
    assert "training continues" in first
    assert last.startswith(f"kept: not everything is in the mirror {target.location}. Safe in")
    command = f"kept sync {store.location} {target.location} --artifact m --as m-2"
    for text in shown:
        assert "is not a copy" in text
        assert command in text
        assert "--ours" in text
    assert target.version("m").metadata == {"n": 100}


def test_an_alias_that_was_moved_in_the_mirror_too_is_reported(store, tmp_path, shown):
    target = kept.open_store(tmp_path / "target")
    log(store, tmp_path, 0)
    mirror = Mirror(store, target)
    mirror.begin("m")
    assert mirror.courier.wait(60)
    target.set_alias("m:v0", "prod")
    target.set_alias("m:v0", "best")
    log(store, tmp_path, 1)
    mirror.courier.wake("m")
    mirror.courier.finish()
    [text] = [text for text in shown if "on their way" not in text]
    assert text.startswith("kept: m: the alias best was moved in both stores")
    assert (target["m:best"].index, target["m:prod"].index) == (1, 0)


TRAINER = """
import itertools, os, sys, kept
from kept import messages
from kept.sync.mirror.mirrors import Mirror
store = kept.open_store(sys.argv[1])
store.create()
messages.print_text = lambda text: None
mirror = Mirror(store, sys.argv[2])
mirror.begin("m")
for n in itertools.count():
    with open(sys.argv[3], "wb") as file:
        file.write(os.urandom(1_100_000))
    print(store.log_artifact("m", sys.argv[3], aliases=["best"]).reference, flush=True)
    mirror.courier.wake("m")
"""


def test_trainers_killed_during_uploads(tmp_path, s3, proxy):
    proxy.fault = lambda method, path: "slow" if method == "PUT" else None
    returned = []
    for kill in range(3):
        trainer = start(TRAINER, tmp_path / "store", s3, tmp_path / "f")
        returned += [trainer.stdout.readline().strip() for _ in range(3)]
        time.sleep(0.17 * kill)
        trainer.send_signal(signal.SIGKILL)
        trainer.communicate()
        mirrored = kept.open_store(s3)
        if mirrored.exists:
            assert mirrored.verify().problems == []
    proxy.fault = lambda *_: None
    code = "import sys; from kept.cli.main import main; main()"
    finish(start(code, "--store", tmp_path / "store", "sync", "--outbox", tmp_path / "outbox"))
    store, mirrored = kept.open_store(tmp_path / "store"), kept.open_store(s3)
    assert [(v.index, v.digest, v.aliases) for v in store.versions("m")] == [
        (v.index, v.digest, v.aliases) for v in mirrored.versions("m")
    ]
    assert {v.reference for v in mirrored.versions("m")} >= set(returned)
    assert mirrored.verify().problems == []


def test_a_process_that_ends_while_a_mirror_is_away_ends_well(tmp_path, s3, proxy):
    proxy.fault = lambda *_: "away"
    code = TRAINER.replace("itertools.count()", "range(2)")
    started = time.monotonic()
    assert len(finish(start(code, tmp_path / "store", s3, tmp_path / "f"))) == 2
    assert time.monotonic() - started < 60
    assert os.path.exists(tmp_path / "store" / "outbox")


FORKED = """
import os, threading
from kept.sync.courier import Courier, Words

sent, go, held, forked = [], threading.Event(), threading.Event(), threading.Event()

class Sender:
    def send(self, what):
        go.wait(60)
        sent.append(what)

def hold():
    with courier._changed:  # as its thread does for moments
        held.set()
        forked.wait(60)

courier = Courier(Sender(), Words("there", "here", "later"))
courier.wake("of the parent")
threading.Thread(target=hold).start()
held.wait(60)
child = os.fork()
if child:
    forked.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
go.set()
if not child:
    courier.wake("of the child")
assert courier.wait(60)
print(*sent, flush=True)
"""


def test_after_a_fork_the_parent_sends_its_keys_and_the_child_can_send_and_end():
    assert finish(start(FORKED)) == ["of the child", "of the parent"]
