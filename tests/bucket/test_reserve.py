"""The room that a local bucket holds back: who makes it, who may spend it, and when it returns."""

import errno
import os
import sys
import threading

import pytest

from kept.bucket import reserve
from kept.bucket.local import LocalBucket
from tests.bucket.full_disk import BLOCK, FullDisk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def bucket(tmp_path):
    bucket = LocalBucket(tmp_path / "bucket")
    bucket.put("k", [b"value"])
    return bucket


def held(bucket):
    path = f"{bucket.root}/tmp/reserve"
    return os.path.getsize(path) if os.path.exists(path) else None


def test_the_first_write_makes_it(bucket):
    assert held(bucket) == reserve.SIZE
    with open(f"{bucket.root}/tmp/reserve", "rb") as file:
        assert len(set(file.read())) == 256  # a file system that compresses needs the room, too
    assert list(bucket.keys("")) == ["k"]
    os.unlink(f"{bucket.root}/tmp/reserve")
    LocalBucket(bucket.root).get("k")
    assert held(bucket) is None  # reading makes nothing
    LocalBucket(bucket.root).put("k", [b"x"])
    assert held(bucket) == reserve.SIZE


def test_a_disk_with_little_room_gets_none(bucket, monkeypatch):
    os.unlink(f"{bucket.root}/tmp/reserve")
    FullDisk(monkeypatch, bucket.root, free=2 * reserve.SIZE // BLOCK)
    LocalBucket(bucket.root).put("k", [b"x"])
    assert held(bucket) is None


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_reserve_that_cannot_be_made_stops_no_write(bucket, monkeypatch, code):
    os.unlink(f"{bucket.root}/tmp/reserve")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", fail)
    LocalBucket(bucket.root).put("k", [b"x"])
    assert bucket.get("k") == b"x"


def test_only_who_may_spend_it_does(bucket, monkeypatch):
    disk = FullDisk(monkeypatch, bucket.root)
    for store in (bucket.put, bucket.put_if_absent):
        with pytest.raises(OSError, match="No space left on device"):
            store("new", [b"x"])
    assert held(bucket) == reserve.SIZE
    errors = []

    def other_thread():
        try:
            bucket.put("new", [b"x"])
        except OSError as error:
            errors.append(error.errno)

    with bucket.spending_reserve():
        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
        assert (errors, held(bucket)) == ([errno.ENOSPC], reserve.SIZE)
        bucket.put("new", [b"x"])
        assert held(bucket) is None
        with bucket.spending_reserve():
            bucket.put_if_absent("newer", [b"x"])
    assert held(bucket) == reserve.SIZE - 4 * BLOCK  # as much as fits, in pieces of four blocks
    assert disk.used() <= disk.capacity
    with pytest.raises(OSError, match="No space"):
        bucket.put("newest", [bytes(4 * BLOCK)])
    disk.capacity *= 100
    LocalBucket(bucket.root).put("newest", [b"x"])
    assert held(bucket) == reserve.SIZE


def test_a_write_that_does_not_fit_into_it_fails(bucket, monkeypatch):
    FullDisk(monkeypatch, bucket.root)
    with bucket.spending_reserve(), pytest.raises(OSError, match="No space"):
        bucket.put("new", [bytes(reserve.SIZE + 1)])
    assert held(bucket) == reserve.SIZE


def test_another_error_does_not_spend_it(bucket, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "writev", fail)
    with bucket.spending_reserve(), pytest.raises(OSError, match="Input/output"):
        bucket.put("new", [b"x"])
    assert held(bucket) == reserve.SIZE
