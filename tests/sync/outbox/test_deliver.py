"""From the outbox to a remote store: in order, once, after every kill and every failure."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged, InvalidInput, Unreachable
from kept.sync.outbox.deliver import Delivered, Delivery
from kept.sync.outbox.outbox import Outbox
from kept.sync.outbox.rejected import rejection_of
from tests.helpers import Wrapped, finish, start, write


class Arrived:
    """Collects what a delivery reports."""

    def __init__(self):
        self.versions = []

    def arrived(self, version):
        self.versions.append(version)


@pytest.fixture
def outbox(tmp_path):
    return Outbox(tmp_path / "outbox")


def add(delivery, tmp_path, n, artifact="m"):
    path = write(tmp_path / "files" / f"{artifact}{n}", b"%d" % n * 1000)
    label = {"type": "model", "aliases": [f"a{n}", "best"], "metadata": {"n": n}}
    delivery.add(artifact, {"f": str(path)}, label)
    return path


def found(s3, artifact="m"):
    return [(v.index, v.metadata["n"]) for v in kept.open_store(s3).versions(artifact)]


def test_entries_become_versions_in_order(s3, outbox, tmp_path):
    arrived = Arrived()
    delivery = Delivery(kept.open_store(s3), outbox, arrived)
    for n in range(3):
        add(delivery, tmp_path, n).unlink()
    counts = []
    assert delivery.send(lambda *done: counts.append(done)) == Delivered(3, 3000)
    assert counts == [(1016, 3000), (2032, 3000), (3048, 3048)]  # a blob has a header of 16 bytes
    assert [v.reference for v in arrived.versions] == ["m:v0", "m:v1", "m:v2"]
    store = kept.open_store(s3)
    assert store["m:best"].index == 2
    assert store["m:a1"].metadata == {"n": 1, "bytes_new": 1000}
    assert delivery.send() == Delivered(0, 0)
    assert not os.path.exists(outbox.folder)


def test_protected_aliases_and_latest_are_left_out(outbox, tmp_path):
    """An earlier kept took latest among aliases=."""
    store, arrived = kept.Store(MemoryBucket()), Arrived()
    store.protect("prod")
    delivery = Delivery(store, outbox, arrived)
    for n in range(2):
        path = write(tmp_path / f"f{n}", b"%d" % n)
        label = {
            "type": "model",
            "aliases": [f"epoch_{n}", "latest", "prod", "own"],
            "metadata": {},
        }
        delivery.add("m", {"f": str(path)}, label)
    assert delivery.send().versions == 2
    assert [v.aliases for v in store.versions("m")] == [("epoch_0",), ("latest", "epoch_1", "own")]
    assert [v.withheld for v in arrived.versions] == [("prod",), ("prod",)]
    [note] = delivery.notes
    assert note.startswith("checkpoints of m are stored without prod, because memory: protects")
    assert note.endswith("To move it: kept promote m:vN prod")


def test_one_that_is_added_while_the_outbox_is_looked_at_is_reported_when_it_arrives(
    s3, outbox, tmp_path, monkeypatch
):
    """It must not count as sent because the look missed it; its arrival must be reported."""
    arrived = Arrived()
    delivery = Delivery(kept.open_store(s3), outbox, arrived)
    add(delivery, tmp_path, 0)
    left = delivery.left
    looks = []

    def left_before_another_one_comes():
        found = left()
        looks.append(found)
        if len(looks) == 2:  # the one after the last entry was sent
            add(delivery, tmp_path, 1)
        return found

    monkeypatch.setattr(delivery, "left", left_before_another_one_comes)
    assert delivery.send() == Delivered(1, 1000)
    assert delivery.send() == Delivered(1, 1000)
    assert [v.reference for v in arrived.versions] == ["m:v0", "m:v1"]


@pytest.mark.parametrize("everything", [True, False])
def test_what_another_one_is_sending_is_waited_for_if_everything_is_wanted(
    s3, outbox, tmp_path, everything
):
    """A run that resumes needs it; without it the run would begin at epoch 0."""
    store, sent = kept.open_store(s3), []
    add(Delivery(store, outbox), tmp_path, 0)
    resuming = Delivery(store, outbox)
    sending = threading.Thread(target=lambda: sent.append(resuming.send(everything=everything)))
    with outbox.draining(store.location) as mine:
        assert mine
        sending.start()
        sending.join(0.5)
        assert sending.is_alive() == everything
    sending.join()
    assert sent == [Delivered(1, 1000) if everything else Delivered(0, 0)]


def test_one_that_is_deleted_before_its_arrival_is_reported_delays_nothing(
    s3, outbox, tmp_path, monkeypatch
):
    arrived = Arrived()
    delivery = Delivery(kept.open_store(s3), outbox, arrived)
    for n in range(2):
        add(delivery, tmp_path, n)
    commit = Delivery._commit

    def delete_at_once(self, entry, transfer):
        committed = commit(self, entry, transfer)
        if not committed.record.index:
            kept.open_store(s3).delete("m:v0", force=True)
        return committed

    monkeypatch.setattr(Delivery, "_commit", delete_at_once)
    assert delivery.send() == Delivered(2, 2000)
    assert [(v.reference, v.record.deleted) for v in arrived.versions] == [
        ("m:v0", True),
        ("m:v1", False),
    ]
    assert delivery.left() == []


CRASH = """
import os, sys, kept
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
outbox = Outbox(sys.argv[2])
outbox.confirm = lambda entry: os._exit(0)
Delivery(kept.open_store(sys.argv[1]), outbox).send()
"""


def test_a_crash_between_commit_and_confirmation_doubles_nothing(s3, outbox, tmp_path):
    delivery = Delivery(kept.open_store(s3), outbox)
    for n in range(2):
        add(delivery, tmp_path, n)
    finish(start(CRASH, s3, outbox.folder))
    assert len(outbox.entries()) == 2
    other = write(tmp_path / "f", b"of another machine")
    kept.open_store(s3).log_artifact("m", other, metadata={"n": -1})
    Delivery(kept.open_store(s3), outbox).send()
    assert found(s3) == [(0, 0), (1, -1), (2, 1)]
    assert outbox.entries() == []


def test_the_same_content_again_moves_the_aliases_once(s3, outbox, tmp_path):
    delivery = Delivery(kept.open_store(s3), outbox)
    for alias in ("a", "b"):
        path = write(tmp_path / alias / "f", b"x")
        delivery.add("m", {"f": str(path)}, {"type": "model", "aliases": [alias], "metadata": {}})
    finish(start(CRASH, s3, outbox.folder))
    Delivery(kept.open_store(s3), outbox).send()
    [version] = kept.open_store(s3).versions("m")
    assert set(version.aliases) == {"latest", "a", "b"}
    assert kept.open_store(s3).log("m").view().head == 2


def test_what_fails_still_waits_and_is_not_sent_twice(proxy, s3, quick, outbox, tmp_path):
    delivery = Delivery(kept.open_store(s3), outbox)
    for n in range(3):
        add(delivery, tmp_path, n)
    second = "/log/" + "0" * 19 + "2.json"
    answered = []

    def misbehave(method, path):
        """Store the record, but answer with an error, also to a reader."""
        if second in path and (method == "PUT" or answered):
            answered.append(method)
            return "503" if method == "PUT" else "away"
        return None

    proxy.fault = misbehave
    with pytest.raises(Unreachable):
        delivery.send()
    assert [e.info["metadata"]["n"] for e in outbox.entries()] == [1, 2]
    proxy.fault = lambda *_: None
    assert delivery.send().versions == 2
    assert found(s3) == [(0, 0), (1, 1), (2, 2)]


def test_a_rejected_entry_does_not_delay_the_others(s3, outbox, tmp_path):
    delivery = Delivery(kept.open_store(s3), outbox)
    spoiled = add(delivery, tmp_path, 0)
    add(delivery, tmp_path, 1)
    spoiled.write_bytes(b"changed in place")
    with pytest.raises(Damaged, match="changed in place"):
        delivery.send()
    assert found(s3) == [(0, 1)]
    assert [entry.info["metadata"]["n"] for entry in outbox.entries()] == [0]


def test_only_the_wanted_artifact_is_sent(s3, outbox, tmp_path):
    delivery = Delivery(kept.open_store(s3), outbox)
    for artifact, n in (("m", 0), ("other", 1), ("m", 2)):
        add(delivery, tmp_path, n, artifact)
    assert delivery.send(artifact="other") == Delivered(1, 1000)
    assert found(s3, "other") == [(0, 1)]
    assert [entry.info["metadata"]["n"] for entry in delivery.left()] == [0, 2]
    assert delivery.send(artifact="m") == Delivered(2, 2000)


BOTH = """
import sys, kept
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
location, folder, who = sys.argv[1:]
arrived = []
class Arrived:
    def arrived(self, version):
        arrived.append(version)
delivery = Delivery(kept.open_store(location), Outbox(folder), Arrived())
sys.stdin.readline()
for n in range(4):
    path = folder + f"-{who}{n}"
    open(path, "w").write(path)
    delivery.add("m", {"f": path}, {"type": "model", "aliases": [f"{who}{n}"], "metadata": {}})
    delivery.send()
for version in arrived:
    print(version.reference)
"""


def test_processes_that_share_an_outbox(s3, outbox):
    kept.open_store(s3).create()
    started = [start(BOTH, s3, outbox.folder, who) for who in ("a", "b", "c")]
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    lines = [finish(process) for process in started]
    store = kept.open_store(s3)
    assert [v.index for v in store.versions("m")] == list(range(12))
    for who, arrived in zip("abc", lines, strict=True):
        own = [store[f"m:{who}{n}"].reference for n in range(4)]
        assert arrived == own
        assert [int(reference.rpartition("v")[2]) for reference in own] == sorted(
            int(reference.rpartition("v")[2]) for reference in own
        )
    assert not os.path.exists(outbox.folder)


TRAINER = """
import itertools, os, sys, time, kept, kept.store.open
from kept import messages
from kept.sync.courier import Courier, Words
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
location, folder, path, run = sys.argv[1:]
store = kept.Store(kept.store.open.open_bucket(location), look=False)
delivery = Delivery(store, Outbox(folder))
class Sender:
    def send(self, what):
        delivery.send()
messages.print_text = lambda text: None
courier = Courier(Sender(), Words("s", "o", "c"))
for n in itertools.count():
    own = f"{path}-{run}-{n}"
    with open(own, "wb") as file:
        file.write(os.urandom(1_100_000))
    label = {"type": "model", "aliases": ["best"], "metadata": {"run": run, "n": n}}
    delivery.add("m", {"f": own}, label)
    os.unlink(own)
    print(n, flush=True)
    courier.wake("s")
    while len(delivery.left()) > 3:
        time.sleep(0.01)
"""


def killed(run, s3, outbox, tmp_path, seconds):
    """Let a trainer work for a while and kill it; return what it has put into the outbox."""
    trainer = start(TRAINER, s3, outbox.folder, tmp_path / "f", run)
    added = [(str(run), int(trainer.line())) for _ in range(3)]
    time.sleep(seconds)
    trainer.send_signal(signal.SIGKILL)
    rest, _ = trainer.communicate()
    return added + [(str(run), int(line)) for line in rest.split()]


def check_complete(s3, outbox, added):
    """Send what is left; nothing is lost, doubled, out of order or damaged."""
    store = kept.open_store(s3)
    Delivery(store, outbox).send()
    versions = [(v.metadata["run"], v.metadata["n"]) for v in store.versions("m")]
    assert len(set(versions)) == len(versions)
    assert set(added) <= set(versions)
    assert versions == sorted(versions)
    assert store.verify().problems == []
    assert outbox.entries() == []


def test_trainers_killed_during_uploads(s3, proxy, outbox, tmp_path):
    proxy.fault = lambda method, path: "slow" if method == "PUT" else None
    added = []
    for run in range(3):
        added += killed(run, s3, outbox, tmp_path, 0.4 + 0.37 * run)
        if kept.open_store(s3).exists:
            assert kept.open_store(s3).verify().problems == []
    proxy.fault = lambda *_: None
    check_complete(s3, outbox, added)


class Flips(Wrapped):
    """Flips a bit in the values of some keys, as many times as it is told."""

    def __init__(self, part, times):
        super().__init__(MemoryBucket())
        self.part, self.times = part, times

    def get(self, key, start=0, length=None):
        value = self.inner.get(key, start, length)
        if self.part in key and self.times:
            self.times -= 1
            value = bytearray(value)
            value[len(value) // 2] ^= 1
        return value


def with_versions(store):
    return [(v.index, v.metadata["n"]) for v in store.versions("m")]


@pytest.fixture
def flipping(outbox, tmp_path):
    """Return a store with one version, and three entries for it; a record is read wrongly."""

    def make(part, times):
        bucket = Flips(part, times=0)
        kept.Store(bucket).log_artifact("m", kept.MemoryFile("f", [b"old"]), metadata={"n": 0})
        delivery = Delivery(kept.Store(bucket), outbox)
        for n in (1, 2, 3):
            add(delivery, tmp_path, n)
        bucket.times = times
        return bucket, delivery

    return make


@pytest.mark.parametrize("part", ["/log/", "manifests/"])
def test_one_wrong_byte_in_one_answer_is_read_again(flipping, part):
    bucket, delivery = flipping(part, times=1)
    assert delivery.send().versions == 3
    assert with_versions(kept.Store(bucket)) == [(n, n) for n in range(4)]


def test_a_damaged_store_stops_the_delivery_and_rejects_no_entry(flipping, outbox, tmp_path):
    bucket, delivery = flipping("m/log/", times=10_000)
    add(delivery, tmp_path, 0, "other")
    with pytest.raises(Damaged, match=r"m/log/0+1\.json is damaged"):
        delivery.send()
    assert [entry.artifact for entry in outbox.entries()] == ["m", "m", "m"]  # other was sent
    assert not any(map(rejection_of, outbox.entries()))
    bucket.times = 0
    assert delivery.send().versions == 3
    assert with_versions(kept.Store(bucket)) == [(n, n) for n in range(4)]


def test_one_that_arrives_late_takes_latest_from_no_later_one(s3, outbox, tmp_path):
    delivery = Delivery(kept.open_store(s3), outbox)
    spoiled = add(delivery, tmp_path, 0)
    data, times = spoiled.read_bytes(), (spoiled.stat().st_atime_ns, spoiled.stat().st_mtime_ns)
    add(delivery, tmp_path, 1)
    spoiled.write_bytes(b"changed in place")
    with pytest.raises(Damaged, match="changed in place"):
        delivery.send()
    spoiled.write_bytes(data)
    os.utime(spoiled, ns=times)
    with pytest.raises(InvalidInput, match="Later checkpoints of m were sent before it"):
        delivery.send()
    assert found(s3) == [(0, 1)]
    assert len(outbox.entries()) == 1


def test_best_is_decided_when_an_entry_arrives(s3, tmp_path):
    late, early = (
        Delivery(kept.open_store(s3), Outbox(tmp_path / name)) for name in ("late", "early")
    )

    def put(delivery, value):
        path = write(tmp_path / str(value) / "m.bin", b"%f" % value)
        metadata = {"monitor": "val_loss", "mode": "min", "value": value}
        info = {"type": "model", "aliases": [], "metadata": metadata, "contends": True}
        delivery.add("m", {"m.bin": str(path)}, info)

    for value in (0.1, 0.9):  # 0.1 is the best of all, and arrives after 0.5
        put(late, value)
    put(early, 0.5)
    early.send()
    assert kept.open_store(s3)["m:best"].index == 0
    late.send()
    store = kept.open_store(s3)
    assert [v.metadata["value"] for v in store.versions("m")] == [0.5, 0.1, 0.9]
    assert store["m:best"].index == 1
