"""The overview of a store in object storage: never older than the logs, and never needed."""

from __future__ import annotations

import json

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import AccessDenied, DamageWarning
from kept.store.log.overview import OVERVIEW, summaries
from tests.helpers import Wrapped


class Remote(Wrapped):
    """A bucket in memory that is far away; it counts what is read."""

    is_remote = True
    concurrency = 4

    def __init__(self):
        super().__init__(MemoryBucket())
        self.read = []

    def get(self, key, *args):
        self.read.append(key)
        return self.inner.get(key, *args)


@pytest.fixture
def bucket():
    bucket = Remote()
    store = kept.Store(bucket)
    for n in range(8):
        store.log_artifact(f"a{n}", kept.MemoryFile("f", [b"%d" % n]), aliases=["best"])
    store.delete("a3:v0", force=True)
    return bucket


def listed(bucket):
    """What an overview says, and the records that were read for it."""
    bucket.read.clear()
    found = dict(summaries(kept.Store(bucket).logs))
    assert found == dict(summaries(kept.Store(bucket.inner).logs))
    return found, [key for key in bucket.read if "/log/" in key]


def test_it_saves_the_records_that_are_unchanged(bucket):
    found, read = listed(bucket)
    assert len(read) == 9
    assert (found["a0"].versions, found["a0"].newest, found["a0"].size) == (1, 0, 1)
    assert found["a0"].aliases == [("latest", 0), ("best", 0)]
    assert (found["a3"].versions, found["a3"].newest, found["a3"].type) == (0, None, "model")
    assert listed(bucket) == (found, [])


def test_what_changed_is_read(bucket):
    listed(bucket)
    kept.Store(bucket).set_alias("a5:v0", "prod")
    kept.Store(bucket).log_artifact("new", kept.MemoryFile("f", [b"new"]))
    found, read = listed(bucket)
    assert {key.split("/")[1] for key in read} == {"a5", "new"}
    assert ("prod", 0) in found["a5"].aliases


def test_a_log_from_elsewhere_is_read(bucket):
    """The place was filled from another copy: the same number of records, stored later."""
    listed(bucket)
    other = kept.Store(MemoryBucket())
    other.log_artifact("a1", kept.MemoryFile("f", [b"other"]), aliases=["other"])
    key = "artifacts/a1/log/00000000000000000001.json"
    bucket.put(key, [other.bucket.get(key)])
    found, read = listed(bucket)
    assert read == [key]
    assert ("other", 0) in found["a1"].aliases


def test_a_log_that_is_gone_is_not_listed(bucket):
    listed(bucket)
    bucket.delete("artifacts/a2/log/00000000000000000001.json")
    assert "a2" not in listed(bucket)[0]


@pytest.mark.parametrize("change", [
    lambda data: b"", lambda data: data[:-9], lambda data: data.replace(b'"best"', b'"beSt"'),
    lambda data: json.dumps({"value": {"artifacts": []}}).encode(),
])  # fmt: skip
def test_a_damaged_one_is_written_again(bucket, change):
    listed(bucket)
    bucket.put(OVERVIEW, [change(bytes(bucket.inner.get(OVERVIEW)))])
    assert len(listed(bucket)[1]) == 9
    assert not listed(bucket)[1]


def test_a_fault_is_reported_each_time(bucket):
    bucket.put("artifacts/a1/log/00000000000000000001.json", [b"damaged"])
    for _ in range(2):
        with pytest.warns(DamageWarning, match="a1"):
            found = dict(summaries(kept.Store(bucket).logs))
        assert (found["a1"].type, found["a1"].versions) == (None, 0)


def test_without_the_permission_to_write_all_is_read(bucket, monkeypatch):
    def put(*_):
        raise AccessDenied("no")

    monkeypatch.setattr(bucket, "put", put, raising=False)
    assert listed(bucket)[0] == listed(bucket)[0]
    assert len(listed(bucket)[1]) == 9


def test_a_store_in_a_folder_has_none(store, file):
    for n in range(20):
        store.log_artifact(f"a{n}", file(b"%d" % n))
    assert len(dict(summaries(store.logs))) == 20
    assert OVERVIEW not in store.bucket.keys("")
