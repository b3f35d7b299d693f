"""Receipts of mirrors: a damaged one confirms nothing, is named, and is never taken for another."""

import json

import pytest

from kept.errors import DamageWarning
from kept.store.receipts import Receipts, damaged_receipts, mirrored_up_to, receipts, unconfirmed


@pytest.fixture
def bucket(store):
    store.create()
    for place in ("/mirror/one", "/mirror/two"):
        for name in ("a", "b"):
            Receipts(store.bucket, place).confirm(name, 7, 3)
    return store.bucket


def key_of(bucket, place, name):
    return Receipts(bucket, place)._key(name)


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data.replace(b'"version":3', b'"version":9'),
        lambda data: data.replace(b"mirror/one", b"mirror/ome"),
        lambda data: data.replace(b'"record":7', b'"record":"7"'),
        lambda data: data.replace(b'"version":3', b'"version":-2'),
        lambda data: b"[]",
        lambda data: b"",
    ],
)
def test_a_damaged_receipt(bucket, harm):
    key = key_of(bucket, "/mirror/one", "a")
    bucket.put(key, [harm(bytes(bucket.get(key)))])
    with pytest.warns(DamageWarning, match=key):
        assert len(list(receipts(bucket))) == 3
    assert mirrored_up_to(bucket, "a") == -1
    assert mirrored_up_to(bucket, "b") == 3
    assert list(damaged_receipts(bucket)) == [key]
    bucket.put(key, [unconfirmed(bucket, key, [])])
    assert Receipts(bucket, "/mirror/one").receipt("a").version == -1
    assert list(damaged_receipts(bucket)) == []


@pytest.mark.parametrize("other", [("/mirror/one", "b"), ("/mirror/two", "a")])
def test_a_receipt_in_the_place_of_another_one(bucket, other):
    key = key_of(bucket, "/mirror/one", "a")
    bucket.put(key, [bucket.get(key_of(bucket, *other))])
    assert list(damaged_receipts(bucket)) == [key]


def test_a_receipt_of_an_earlier_kept_has_no_checksum(bucket):
    key = key_of(bucket, "/mirror/one", "a")
    value = json.loads(bytes(bucket.get(key)))
    del value["blake3"]
    bucket.put(key, [json.dumps(value).encode()])
    assert Receipts(bucket, "/mirror/one").receipt("a").version == 3


def test_strange_files_are_ignored(bucket):
    for name in (".DS_Store", "x/.DS_Store", f"{'0' * 16}/a b.json", "a.json"):
        bucket.put(f"outbox/{name}", [b"\0"])
    assert len(list(receipts(bucket))) == 4
    assert list(damaged_receipts(bucket)) == []
