"""The id of a store in kept.json."""

from __future__ import annotations

import json

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import StoreReplaced
from kept.store.format_marker import (
    EVENTS_FORMAT,
    FORMAT_KEY,
    check_format,
    encoded_marker,
    make_store,
    raise_format,
)
from kept.store.receipts import Receipts
from kept.sync.mirror.replicate import Sync
from tests.helpers import write


@pytest.fixture
def bucket():
    return MemoryBucket()


def log(store, tmp_path, text):
    return store.log_artifact("m", write(tmp_path / "f", text.encode()))


def test_each_store_has_an_id_of_its_own(bucket):
    first, second = make_store(bucket), make_store(MemoryBucket())
    assert first != second
    assert check_format(bucket).id == make_store(bucket) == first


def test_the_id_stays_when_the_format_rises(bucket):
    store_id = make_store(bucket)
    raise_format(bucket, EVENTS_FORMAT)
    assert json.loads(bytes(bucket.get(FORMAT_KEY)))["format"] == EVENTS_FORMAT
    assert check_format(bucket).id == store_id


def test_a_store_of_an_earlier_kept_has_none_and_gets_none(bucket, tmp_path):
    bucket.put(FORMAT_KEY, [encoded_marker()])
    store = kept.Store(bucket)
    log(store, tmp_path, "0")
    raise_format(bucket, EVENTS_FORMAT)
    assert kept.Store(bucket).logs.marker == (True, None, None, EVENTS_FORMAT)
    log(store, tmp_path, "1")
    for key in list(bucket.keys("")):
        bucket.delete(key)
    with pytest.raises(StoreReplaced, match="was emptied"):
        log(store, tmp_path, "2")


@pytest.mark.parametrize(
    "wrong", [{"id": "0" * 32}, {"id": 1}, {"id": None}, {"id_blake3": None}, {"id_blake3": []}]
)
def test_a_damaged_id(bucket, tmp_path, wrong):
    store = kept.Store(bucket)
    log(store, tmp_path, "0")
    bucket.put(FORMAT_KEY, [json.dumps(json.loads(bytes(bucket.get(FORMAT_KEY))) | wrong).encode()])
    damaged = kept.Store(bucket)
    assert "id does not match" in damaged.logs.problem
    assert damaged.version("m").index == 0
    damaged.repair()
    assert check_format(bucket).id is not None
    log(kept.Store(bucket), tmp_path, "1")


@pytest.mark.parametrize("lost", ["source", "mirror"])
def test_a_repair_takes_back_the_id_that_receipts_name(tmp_path, lost):
    stores = {name: kept.open_store(tmp_path / name) for name in ("source", "mirror")}
    log(stores["source"], tmp_path, "0")
    receipts = Receipts(
        stores["source"].bucket, stores["mirror"].location, stores["source"].logs.marker.id
    )
    Sync(stores["source"], stores["mirror"], "m").run(receipts)
    bucket = stores[lost].bucket
    store_id = check_format(bucket).id
    bucket.delete(FORMAT_KEY)
    kept.open_store(tmp_path / lost).repair([tmp_path / "source"] if lost == "mirror" else [])
    assert check_format(bucket).id == store_id


def test_a_repair_keeps_the_id_beside_a_damaged_format(bucket, tmp_path):
    log(kept.Store(bucket), tmp_path, "0")
    store_id = check_format(bucket).id
    bucket.put(FORMAT_KEY, [bytes(bucket.get(FORMAT_KEY)).replace(b'"format":1', b'"format":2')])
    kept.Store(bucket).repair()
    assert check_format(bucket)[:3] == (True, None, store_id)


def test_a_repaired_record_is_no_other_store(bucket, tmp_path):
    store = kept.Store(bucket)
    for text in "01":
        log(store, tmp_path, text)
    bucket.put(store.log("m").records.key(2), [b"?"])
    kept.Store(bucket).repair()
    assert log(store, tmp_path, "2").index == 2
