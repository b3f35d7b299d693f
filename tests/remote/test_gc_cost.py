"""What the gc of a callback costs in object storage, with few and with many other artifacts."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.store.content.file_source import MemoryFile
from kept.store.gc import owned
from kept.store.version import take_written
from kept.training.upkeep.gc import BackgroundGC
from tests.servers.s3 import fill

SIZE = 1_200_000  # bytes: a blob of its own


def others(location, count):
    """Fill a store with runs that are over, each with five versions."""
    store = kept.Store(MemoryBucket())
    for run in range(count):
        for _ in range(5):
            store.log_artifact(f"run{run}", [MemoryFile("f", [os.urandom(20)])])
    fill(location, {key: store.bucket.get(key) for key in store.bucket.keys("")})


@pytest.mark.parametrize("count", [1, 20])
def test_depends_on_what_the_run_has_changed(proxy, s3, count, monkeypatch):
    monkeypatch.setattr(owned, "_YOUNG", -1.0)  # the other runs count as over for a while
    others(s3, count)
    store, gc = kept.open_store(s3), BackgroundGC(timedelta())
    heads = [store.log(f"run{run}").view().head for run in range(count)]
    for _ in range(3):
        for _ in range(4):
            version = store.log_artifact("mine", [MemoryFile("f", [os.urandom(SIZE)])])
            gc.committed(version, take_written(version))
        store.prune("mine", kept.Keep(last=1))
        before = set(store.bucket.keys("blobs/"))
        with proxy.counted() as made:
            gc._free(store, "mine")
        freed = before - set(store.bucket.keys("blobs/"))
        assert len(freed) >= 2
        # Of each version that goes: its manifest is read, and two keys are deleted.
        assert len(made) - 3 * len(freed) <= 30, [r.method + r.path for r in made]
        assert heads == [store.log(f"run{run}").view().head for run in range(count)]
    assert store.verify().problems == []
    # The first version was stored before this process knew of what others need.
    assert len(list(store.versions("mine"))) == 1
    assert len(set(store.bucket.keys("blobs/"))) == count * 5 + 2
