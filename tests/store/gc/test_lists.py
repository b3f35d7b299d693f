"""gc and writers where lists of keys are old, incomplete or empty; the lists of killed gcs."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged, KeptError, KeyNotFound, StoreError
from kept.store import format_marker
from kept.store.content.file_source import MemoryFile
from kept.store.gc import collector, own_list
from kept.store.gc.owner import is_gone, this_process
from kept.store.log.fence import LISTS, PENDING, encode_list
from tests.helpers import Wrapped

LARGE = bytes(range(256)) * 4800  # a blob of its own


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(own_list, "_PAUSE", 0.0)
    monkeypatch.setattr(own_list, "_LATE", 0.0)
    monkeypatch.setattr(format_marker, "_PAUSE", 0.0)


def filled():
    """Make a bucket: v0 of m is deleted, its bytes are still in place."""
    store = kept.Store(MemoryBucket())
    store.log_artifact("m", [MemoryFile("f", [LARGE])])
    store.log_artifact("m", [MemoryFile("f", [b"x"])])
    store.log_artifact("other", [MemoryFile("f", [b"y"])])
    store.delete("m:v0")
    return store.bucket


class Lying(Wrapped):
    """A bucket that leaves keys and folders out of its lists, from the list number `first` on."""

    def __init__(self, inner, prefix, lacks, first=0, last=99):
        super().__init__(inner)
        self._prefix, self._lacks, self._turns = prefix, lacks, range(first, last)
        self._count, self.is_remote = -1, inner.is_remote

    def _without(self, prefix, found, name_of=str):
        if prefix != self._prefix:
            return found
        self._count += 1
        if self._count not in self._turns:
            return found
        return iter([each for each in found if not self._lacks(name_of(each))])

    def keys(self, prefix, after=""):
        return self._without(prefix, self.inner.keys(prefix, after))

    def items(self, prefix):
        return self._without(prefix, self.inner.items(prefix), lambda item: item.key)

    def folders(self, prefix):
        return self._without(prefix, self.inner.folders(prefix))


def everything(name):
    return True


def data(bucket):
    return [key for key in bucket.keys("") if key.startswith(("blobs/", "manifests/"))]


def refused(bucket, match):
    """gc stops with these words, and has deleted nothing, its list not left either."""
    before = data(bucket.inner)
    with pytest.raises(Damaged, match=match):
        kept.Store(bucket).gc(grace=0)
    assert data(bucket.inner) == before
    assert list(bucket.inner.keys(LISTS)) == []
    assert kept.Store(bucket.inner).verify().problems == []


def test_blobs_and_no_artifacts_stop_a_gc():
    refused(Lying(filled(), "artifacts/", everything), "the list of artifacts is empty, although")


@pytest.mark.parametrize("first", [1, 2])
def test_artifacts_that_vanish_between_two_looks_stop_a_gc(first):
    bucket = Lying(filled(), "artifacts/", lambda name: name == "other", first)
    refused(bucket, "lacks other, which an earlier list had")


def test_a_list_of_gcs_without_the_own_one_stops_a_gc():
    refused(Lying(filled(), LISTS, everything), "which this gc has just stored")


def test_a_list_that_is_late_is_waited_for():
    bucket = Lying(filled(), LISTS, everything, 0, 4)
    assert len(kept.Store(bucket).gc(grace=0).doomed) == 2
    assert kept.Store(bucket.inner).verify().problems == []


def test_a_first_version_that_is_committed_between_two_looks_is_seen():
    """Its log did not exist when gc looked for logs, and new/ no longer names it a moment later."""
    bucket = filled()
    bucket.put(f"{PENDING}first", [b""])

    class Between(Wrapped):
        is_remote = False

        def folders(self, prefix):
            found = list(self.inner.folders(prefix))
            if prefix == "artifacts/":
                self._commit()
            return iter(found)

        def items(self, prefix):
            found = list(self.inner.items(prefix))
            if prefix == PENDING:
                self._commit()
            return iter(found)

        def _commit(self):
            if self.inner.size(f"{PENDING}first") is not None:
                store = kept.Store(self.inner)
                store.log_artifact("first", [MemoryFile("f", [b"z"])])

    names = collector.ArtifactNames(kept.Store(Between(bucket)).logs).look()
    assert names == ["first", "m", "other"]


@pytest.mark.parametrize("is_stale", [True, False])
def test_a_writer_asks_for_the_list_that_a_fence_names(is_stale):
    """gc has put its fences; the writer's list of gc/ is empty, and it stores the doomed bytes."""
    inner = filled()
    committed = []

    class Deleting(Wrapped):
        is_remote = False

        def delete(self, key):
            if key.startswith("blobs/") and not committed:
                bucket = Lying(inner, LISTS, everything) if is_stale else inner
                committed.append(kept.Store(bucket).log_artifact("m", [MemoryFile("f", [LARGE])]))
            self.inner.delete(key)

    kept.Store(Deleting(inner)).gc(grace=0)
    assert committed[0].index == 2
    assert kept.Store(inner).verify().problems == []


def test_a_writer_asks_once_for_a_list_that_has_ended():
    asked = []

    class Counting(Wrapped):
        is_remote = False

        def size(self, key):
            asked.extend([key] if key.startswith(LISTS) else [])
            return self.inner.size(key)

    store = kept.Store(Counting(filled()))
    kept.Store(store.bucket.inner).gc(grace=0)
    for number in range(3):
        store.log_artifact("m", [MemoryFile("f", [b"%d" % number])])
    assert len(asked) == 1


def test_a_marker_that_is_found_and_cannot_be_read_ends_with_an_error():
    class Caching(Wrapped):
        """A proxy that keeps the answer 404 of the first GET."""

        is_remote = True

        def get(self, key, *args):
            if key == "kept.json":
                raise KeyNotFound(key)
            return self.inner.get(key, *args)

    with pytest.raises(StoreError, match="A cache before the bucket may keep old answers"):
        format_marker.check_format(Caching(filled()))


# --- lists of killed gcs --------------------------------------------------------------------------


def leave_list(bucket, owner):
    bucket.put(f"{LISTS}left.json", [encode_list(["blobs/00/" + "0" * 64], owner)])


def of_a_killed_one():
    code = "from kept.store.gc.owner import *; import json; print(json.dumps(this_process()))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return kept.store.encoding.parse(out.stdout.strip().encode(), "owner")


def test_the_list_of_a_process_that_is_gone_goes_at_once():
    bucket = filled()
    leave_list(bucket, of_a_killed_one())
    kept.Store(bucket).gc(grace=0)
    assert list(bucket.keys(LISTS)) == []


@pytest.mark.parametrize("change", [{}, {"host": "another"}, {"pid": 2**70}, {"pid": "1"}])
def test_another_list_stays_for_an_hour(change):
    bucket = filled()
    leave_list(bucket, this_process() | change)
    kept.Store(bucket).gc(grace=0)
    assert list(bucket.keys(LISTS)) == [f"{LISTS}left.json"]
    bucket._stored[f"{LISTS}left.json"] -= 3601
    kept.Store(bucket).gc(grace=0)
    assert list(bucket.keys(LISTS)) == []


def test_a_number_that_another_process_has_by_now():
    assert not is_gone(this_process())
    assert is_gone(this_process() | {"start": "1"})
    assert not is_gone(None)


def test_a_living_gc_renews_its_list_and_stops_if_it_stood_still(monkeypatch):
    bucket, ages = filled(), iter([700.0, 0.0])
    monkeypatch.setattr(collector, "_BATCH", 1)
    monkeypatch.setattr(own_list._Moment, "age", lambda _: next(ages))
    written = []
    real = own_list.encode_list
    monkeypatch.setattr(own_list, "encode_list", lambda *a: written.append(a[0]) or real(*a))
    kept.Store(bucket).gc(grace=0)
    assert [len(keys) for keys in written] == [0, 2, 2]
    bucket = filled()
    limit = own_list.ABANDONED / timedelta(seconds=1)
    monkeypatch.setattr(own_list._Moment, "age", lambda _: limit)
    before = data(bucket)
    with pytest.raises(KeptError, match="it stood still for 60 minutes"):
        kept.Store(bucket).gc(grace=0)
    assert data(bucket) == before
