"""Real servers: the contract of buckets, races of processes, killed servers, bad servers."""

from __future__ import annotations

import os
import threading
import time

import pytest

import kept
from kept.bucket.object_storage.bucket import ObjectBucket
from kept.errors import AccessDenied, KeptError, UnsafeServer
from kept.sync.outbox.outbox import Outbox
from tests.bucket.bucket_contract import BucketContract
from tests.helpers import tree, write
from tests.integration.conftest import sas_token, use_s3
from tests.integration.servers import free_port, needed, running
from tests.remote.test_store_on_s3 import race
from tests.sync.outbox.test_deliver import check_complete, killed

pytestmark = pytest.mark.timeout(900)
ROUNDS = 10


class TestCeph(BucketContract):
    @pytest.fixture
    def bucket(self, rgw):
        return ObjectBucket(rgw)


class TestAzurite(BucketContract):
    @pytest.fixture
    def bucket(self, az):
        return ObjectBucket(az)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_sixteen_processes_on_ceph(rgw, tmp_path, number):
    race(rgw, tmp_path, count=2)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_sixteen_processes_on_moto(moto, s3_environment, monkeypatch, tmp_path, number):
    race(use_s3(monkeypatch, moto, "test", "testtest", f"round{number}"), tmp_path, count=2)


def test_sixteen_processes_on_azurite(az, tmp_path):
    race(az, tmp_path, count=2)


def test_a_store_on_azurite(az, tmp_path):
    store = kept.open_store(az)
    data = os.urandom(3_000_000)
    store.log_artifact("m", write(tmp_path / "f", data), aliases=["best"])
    fresh = kept.open_store(az)
    assert tree(fresh["m:best"].download(tmp_path / "out"))["f"] == data
    assert fresh.verify().problems == []


def test_azure_by_a_signature_alone(az, monkeypatch):
    """Not the deletion: Azurite answers 500 to one (a batch, as the library sends it) that is
    allowed by a signature, so a store cannot be made on it in this way."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", sas_token())
    bucket = ObjectBucket(az)
    bucket.put("a/b", [b"x"])
    assert (bucket.get("a/b"), bucket.size("a/b"), list(bucket.keys(""))) == (b"x", 1, ["a/b"])
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", sas_token(days=-1))
    with pytest.raises(AccessDenied) as caught:
        ObjectBucket(az).get("a/b")
    assert "sig=" not in str(caught.value)


def test_ceph_killed_during_uploads(ceph, rgw, tmp_path):
    store = kept.open_store(rgw)
    committed, stop = [], threading.Event()

    def write_on():
        for n in range(10_000):
            if stop.is_set():
                return
            path = write(tmp_path / "f", os.urandom(1_100_000) + b"%d" % n)
            try:
                committed.append(store.log_artifact("m", path).reference)
            except KeptError:
                time.sleep(0.2)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for _ in range(3):
            count = len(committed)
            while len(committed) < count + 2:
                time.sleep(0.05)
            ceph.kill()
            time.sleep(1)
            ceph.restart()
    finally:
        stop.set()
        writer.join()
    fresh = kept.open_store(rgw)
    there = [version.reference for version in fresh.versions("m")]
    assert set(committed) <= set(there)
    assert len(committed) == len(set(committed)) >= 6
    assert [v.index for v in fresh.versions("m")] == list(range(len(there)))
    assert fresh.verify().problems == []


def test_trainers_and_ceph_killed_during_uploads(ceph, rgw, tmp_path):
    outbox, added = Outbox(tmp_path / "outbox"), []
    for run in range(3):
        added += killed(run, rgw, outbox, tmp_path, 1 + 0.3 * run)
        ceph.kill()  # beside a trainer that goes on, to see what that one makes of it
        ceph_is_back = threading.Timer(2, ceph.restart)
        ceph_is_back.start()
        added += killed(f"{run}b", rgw, outbox, tmp_path, 4)
        ceph_is_back.join()
        assert kept.open_store(rgw).verify().problems == []
    check_complete(rgw, outbox, added)


def test_rclone_ignores_conditions_and_is_refused(s3_environment, monkeypatch, tmp_path):
    port = free_port()
    (tmp_path / "data").mkdir()
    command = [needed("rclone"), "serve", "s3", str(tmp_path / "data"), "--addr",
               f"127.0.0.1:{port}", "--auth-key", "test,testtest"]  # fmt: skip
    with running(command, f"http://127.0.0.1:{port}/", tmp_path / "out"):
        location = use_s3(monkeypatch, f"http://127.0.0.1:{port}", "test", "testtest", "bucket")
        _check_refused(location, tmp_path)


def test_s3rver_ignores_conditions_and_is_refused(s3_environment, monkeypatch, tmp_path):
    port = free_port()
    (tmp_path / "data").mkdir()
    command = [needed("s3rver"), "-d", str(tmp_path / "data"), "-a", "127.0.0.1", "-p", str(port),
               "--allow-mismatched-signatures"]  # fmt: skip
    with running(command, f"http://127.0.0.1:{port}/", tmp_path / "out"):
        location = use_s3(monkeypatch, f"http://127.0.0.1:{port}", "S3RVER", "S3RVER", "bucket")
        _check_refused(location, tmp_path)


def _check_refused(location, tmp_path):
    with pytest.raises(UnsafeServer, match="ignores If-None-Match"):
        kept.open_store(location).log_artifact("m", write(tmp_path / "f", b"x"))
    assert list(ObjectBucket(location).keys("")) == []
