"""The whole store on an S3 server: many writers, a misbehaving server, requests and bytes."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.bucket.object_storage import bucket as object_bucket
from kept.bucket.object_storage.bucket import ObjectBucket
from kept.errors import AccessDenied, KeptError, Unreachable
from tests.conftest import KEY_ID, SECRET
from tests.helpers import arrays, finish, hdf5, keras, start, tree, write
from tests.servers.proxy import FirstTime
from tests.servers.s3 import fill


def test_everything_that_works_in_a_folder_works_on_s3(s3, tmp_path):
    store = kept.open_store(s3)
    assert not store.exists
    for n in range(3):
        path = write(tmp_path / "model.keras", keras(arrays(1, a=2_000_000, b=50_000 + 4 * n), n))
        store.log_artifact("m", path, aliases=["best", f"e{n}"], metadata={"n": n})
    store = kept.open_store(s3)
    assert store.exists
    assert [a.name for a in store.artifacts()] == ["m"]
    assert [v.aliases for v in store.versions("m")] == [("e0",), ("e1",), ("latest", "best", "e2")]
    out = store["m:best"].download(tmp_path / "out")
    assert tree(out)["model.keras"] == path.read_bytes()
    store.set_alias("m:v0", "prod")
    store.delete("m:v1", force=True)
    assert [v.version for v in kept.open_store(s3).versions("m")] == ["v0", "v2"]
    assert store["m:prod"].index == 0
    report = store.verify()
    assert (report.versions, report.problems) == (2, [])


def test_a_long_log_is_read_with_few_round_trips(s3, tmp_path, monkeypatch):
    store = kept.open_store(s3)
    version = store.log_artifact("m", write(tmp_path / "f", b"x"))
    for n in range(70):
        store.set_alias(version.reference, f"a{n}")
    most, under_way, lock, get = 0, 0, threading.Lock(), ObjectBucket.get

    def watched(self, key, *args):
        nonlocal most, under_way
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.01)
        try:
            return get(self, key, *args)
        finally:
            with lock:
                under_way -= 1

    monkeypatch.setattr(ObjectBucket, "get", watched)
    assert len(kept.open_store(s3).version("m").aliases) == 71
    assert most > 2  # side by side


MANY = """
import sys, kept
from pathlib import Path
location, folder, who, count = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
store = kept.open_store(location)
for n in range(count):
    path = folder / who / "model.bin"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(b"%s %d " % (who.encode(), n) * 200)
    version = store.log_artifact("m", path, aliases=[f"{who}_{n}", "best"], metadata={"n": n})
    print(version.reference, flush=True)
"""


def race(location, folder, writers=16, count=2):
    """Let many processes write to one artifact; check that each number has exactly one winner."""
    started = [start(MANY, location, folder, f"w{n}", count) for n in range(writers)]
    for writer in started:
        assert writer.stdout.readline() == "ready\n"
    for writer in started:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    printed = [finish(writer) for writer in started]
    store = kept.open_store(location)
    versions = store.versions("m")
    assert [version.index for version in versions] == list(range(writers * count))
    assert sorted(line for lines in printed for line in lines) == sorted(
        version.reference for version in versions
    )
    for who, lines in enumerate(printed):
        for n, reference in enumerate(lines):
            version = store[f"m:w{who}_{n}"]
            assert (version.reference, version.metadata) == (reference, {"n": n})
    report = store.verify()
    assert (report.versions, report.problems) == (writers * count, [])


def test_sixteen_processes_write_one_artifact(s3, tmp_path):
    race(s3, tmp_path, count=1)


@pytest.fixture
def store(proxy, s3, quick):
    """A store behind the proxy, already made and probed."""
    store = kept.open_store(s3)
    store.create()
    return store


@pytest.mark.parametrize("fault", ["drop", "503", "409", "slow"])
@pytest.mark.parametrize("part", ["/log/", "/blobs/", "/manifests/", "kept.json"])
def test_no_version_is_lost_or_doubled(proxy, s3, tmp_path, fault, part):
    store = kept.open_store(s3)
    if part != "kept.json":
        store.create()
    proxy.fault = FirstTime(fault, "PUT", part)
    if fault == "409" and part in ("/blobs/", "/manifests/"):
        pytest.skip("S3 says that to conditional requests only")
    for n in range(3):
        path = write(tmp_path / "f", b"version %d" % n)
        assert store.log_artifact("m", path, aliases=[f"a{n}"]).index == n
    assert proxy.fault.seen
    proxy.fault = lambda *_: None
    fresh = kept.open_store(s3)
    assert [v.index for v in fresh.versions("m")] == [0, 1, 2]
    assert [fresh[f"m:a{n}"].index for n in range(3)] == [0, 1, 2]
    assert fresh.verify().problems == []


@pytest.mark.parametrize("fault", ["drop", "reset"])
def test_a_life_in_which_every_request_fails_once(proxy, s3, tmp_path, fault):
    """Listings, deletions and reads of the log as well; nothing is lost, doubled or spoiled."""
    begun = FirstTime(fault, None, "")
    proxy.fault = lambda method, path: None if "/tmp/" in path else begun(method, path)
    store, data = kept.open_store(s3), {}
    for n in range(3):
        data[n] = os.urandom(1_100_000)
        path = write(tmp_path / "f", data[n])
        assert store.log_artifact("m", path, aliases=[f"a{n}", "best"]).index == n
    store.set_alias("m:v0", "prod")
    store.delete("m:a1", force=True)
    store.undelete("m:v1")
    store.delete("m:v2", force=True)
    fresh = kept.open_store(s3)
    assert [(v.index, v.aliases) for v in fresh.versions("m")] == [
        (0, ("a0", "prod")), (1, ("latest", "a1")),
    ]  # fmt: skip
    for n in range(2):
        assert tree(fresh[f"m:v{n}"].download(tmp_path / f"out{n}")) == {"f": data[n]}
    assert fresh.gc(grace=0).bytes > 1_100_000
    assert len(begun.seen) > 20
    proxy.fault = lambda *_: None
    last = kept.open_store(s3)
    assert last.log("m").view().head == 3 + 4 + 1  # versions, changes, the fence of the gc
    assert last.verify().problems == []


def test_reads_go_on_after_a_reset_in_mid_body(store, proxy, tmp_path):
    data = os.urandom(6_000_000)
    store.log_artifact("m", write(tmp_path / "f", data))
    proxy.fault = FirstTime("reset", "GET", "/blobs/")
    out = kept.open_store(store.location).version("m").download(tmp_path / "out")
    assert (out / "f").read_bytes() == data
    assert proxy.fault.seen


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("expired", AccessDenied, "credentials have expired"),
        ("away", Unreachable, "cannot be reached"),
        ("503", Unreachable, "asks for fewer requests"),
        ("drop", Unreachable, "breaks off the connection"),
        ("echo", AccessDenied, "not accepted"),
    ],
)
def test_errors_name_the_cause_and_nothing_is_half_done(store, proxy, tmp_path, fault, error, says):
    path = write(tmp_path / "f", b"first")
    store.log_artifact("m", path)
    proxy.fault = lambda method, path: fault if method == "PUT" and "/log/" not in path else None
    path.write_bytes(b"second")
    with pytest.raises(error, match=says) as caught:
        store.log_artifact("m", path)
    assert KEY_ID not in str(caught.value)
    assert SECRET not in str(caught.value)
    proxy.fault = lambda *_: None
    assert store.log_artifact("m", path).index == 1
    assert kept.open_store(store.location).verify().problems == []


@pytest.mark.parametrize("fault", ["reset", "503", "expired"])
def test_reads_that_never_end_well_name_the_cause_and_leave_nothing(store, proxy, tmp_path, fault):
    version = store.log_artifact("m", write(tmp_path / "f", os.urandom(2_000_000)))
    proxy.fault = lambda method, path: fault if "/blobs/" in path else None
    means = r"breaks off|fewer requests|expired"
    with pytest.raises((Unreachable, AccessDenied), match=means) as caught:
        version.download(tmp_path / "out")
    assert "blobs/" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_commit_whose_every_answer_is_lost_is_found_to_be_one(store, proxy, tmp_path):
    proxy.fault = lambda method, path: "drop" if method == "PUT" and "/log/" in path else None
    assert store.log_artifact("m", write(tmp_path / "f", b"x")).index == 0
    assert [v.index for v in kept.open_store(store.location).versions("m")] == [0]


def test_a_server_that_only_says_conflict(store, proxy, tmp_path, monkeypatch):
    monkeypatch.setattr(kept.store.log.records, "_PAUSE", 0.0001)
    proxy.fault = lambda method, path: "409" if method == "PUT" and "/log/" in path else None
    with pytest.raises(KeptError, match="can neither be created nor read"):
        store.log_artifact("m", write(tmp_path / "f", b"x"))


def test_a_frozen_base_moves_only_what_changed(store, proxy, tmp_path):
    base = {f"base_{n}": np.random.default_rng(n).random(400_000, np.float32) for n in range(20)}
    sent, requests = [], []
    for n in range(4):
        head = {"head": np.random.default_rng(100 + n).random(25_000, np.float32)}
        path = write(tmp_path / "model.h5", hdf5(base | head))
        with proxy.counted() as made:
            store.log_artifact("m", path)
        sent.append(sum(request.sent for request in made))
        requests.append(len(made))
    size = path.stat().st_size
    assert sent[0] > size > 30_000_000
    for n in (1, 2, 3):
        assert sent[n] < 100_000 + 20_000  # the head, the manifest and the record
        assert requests[n] <= 2 + 8  # its one new blob (is it there? put it) and the commit
    with proxy.counted() as made:  # nothing new: no blob, no manifest, no record
        store.log_artifact("m", path)
    assert sum(request.sent for request in made) < 10_000


def test_what_listing_costs_does_not_grow_with_the_artifact(proxy, s3, tmp_path):
    source = kept.Store(MemoryBucket())
    version = source.log_artifact("m", write(tmp_path / "f", b"x"))
    made = {"event": "version", "type": "model", "digest": version.digest, "size": 1}
    made |= {"manifest": version.record.manifest, "aliases": [], "metadata": {}}
    log, costs = source.log("m"), []
    for length in (100, 612, 1124):  # each 36 records after a page
        while (head := log.view().head) < length:
            log.append(made | {"index": head})
        last = [log.records.key(number) for number in range(length - 35, length + 1)]
        keys = ["kept.json", *source.bucket.keys("artifacts/m/state/"), *last]
        fill(s3, {key: source.bucket.get(key) for key in keys})
        with proxy.counted() as newest:
            assert kept.open_store(s3).version("m").index == length - 1
        with proxy.counted() as every:
            assert len(kept.open_store(s3).versions("m")) == length
        costs.append((len(newest), len(every)))
    assert len({newest for newest, _ in costs}) == 1
    assert [every - costs[0][1] for _, every in costs] == [0, 1, 2]  # a page of 512 is one


def test_no_credential_is_written_anywhere(s3, tmp_path):
    store = kept.open_store(s3)
    store.log_artifact("m", write(tmp_path / "f", b"x" * 5000), metadata={"a": 1})
    everything = b"".join(store.bucket.get(key) for key in store.bucket.keys(""))
    assert KEY_ID.encode() not in everything
    assert SECRET.encode() not in everything


def test_a_server_that_ignores_conditions_is_refused(s3, tmp_path, monkeypatch):
    create = ObjectBucket._put
    monkeypatch.setattr(
        object_bucket.ObjectBucket,
        "_put",
        lambda self, key, parts, mode: create(self, key, parts, mode="overwrite"),
    )
    with pytest.raises(kept.errors.UnsafeServer, match=r"If-None-Match.*KEPT_SINGLE_WRITER"):
        kept.open_store(s3).log_artifact("m", write(tmp_path / "f", b"x"))
    assert list(ObjectBucket(s3).keys("")) == []
    monkeypatch.setenv("KEPT_SINGLE_WRITER", "1")
    assert kept.open_store(s3).log_artifact("m", write(tmp_path / "f", b"x")).index == 0
