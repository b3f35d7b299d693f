"""verify beside other processes: what they delete and store meanwhile is no damage."""

from __future__ import annotations

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.store.log import pages
from tests.helpers import Wrapped

READS = ("get", "size", "keys", "names", "items", "folders")


class Counting(Wrapped):
    """Calls act just before the nth read."""

    def __init__(self, inner, nth, act):
        super().__init__(inner)
        self.left, self.act = nth, act

    def __getattr__(self, name):
        found = getattr(self.inner, name)
        if name not in READS:
            return found

        def call(*args):
            self.left -= 1
            if self.left == 0:
                self.act(self.inner)
            return found(*args)

        return call


def content(n):
    return kept.MemoryFile("f", [b"%d" % n * 1000])


def collected(bucket):
    store = kept.Store(bucket)
    store.prune("m", kept.Keep(last=1))
    store.gc(grace=0)


def stored_again(bucket):
    collected(bucket)
    store = kept.Store(bucket)
    for n in range(3):
        store.log_artifact("again", content(n))


def collected_twice(bucket):
    collected(bucket)
    store = kept.Store(bucket)
    store.log_artifact("m", content(1))
    store.log_artifact("m", content(7))
    collected(bucket)
    store.log_artifact("m", content(0))


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(pages, "PAGE", 4)
    monkeypatch.setattr(pages, "BIG_PAGE", 16)


def made():
    store = kept.Store(MemoryBucket())
    for n in range(5):
        store.log_artifact("m", content(n))
    store.log_artifact("other", content(9))
    store.delete("m:v0")
    return store.bucket


@pytest.mark.parametrize("act", [collected, stored_again, collected_twice])
def test_before_each_read_of_verify(act):
    reads = Counting(made(), 0, act)
    assert kept.Store(reads).verify().ok
    assert -reads.left > 20
    for nth in range(1, 1 - reads.left):
        found = kept.Store(Counting(made(), nth, act)).verify().problems
        assert not found, (nth, list(map(str, found)))


@pytest.mark.parametrize("part", ["log/", "state/", "manifests/", "blobs/"])
def test_one_wrong_byte_in_one_answer_is_no_damage(part):
    class Flips(Wrapped):
        left = 1

        def get(self, key, *args):
            value = self.inner.get(key, *args)
            if part in key and self.left:
                self.left = 0
                value = bytes(value[:-1]) + bytes([value[-1] ^ 1])
            return value

    bucket = Flips(made())
    assert kept.Store(bucket).verify().ok
    assert not bucket.left
