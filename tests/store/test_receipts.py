"""Receipts of mirrors: a damaged one confirms nothing, is named, and is never taken for another."""

import json

import pytest

from kept.digest import digest
from kept.errors import DamageWarning
from kept.store.encoding import canonical
from kept.store.receipts import (
    MirrorHead,
    Receipts,
    damaged_receipts,
    mirrored_up_to,
    receipts,
    unconfirmed,
)


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
        found = {(r.destination, r.artifact): r.version for r in receipts(bucket)}
    assert found.pop(("/mirror/one", "a")) == -1
    assert list(found.values()) == [3, 3, 3]
    assert Receipts(bucket, "/mirror/one").receipt("a").version == -1
    assert sorted(Receipts(bucket, "/mirror/one").artifacts()) == ["a", "b"]
    assert mirrored_up_to(bucket, "a") == -1
    assert mirrored_up_to(bucket, "b") == 3
    assert [k for k, _ in damaged_receipts(bucket)] == [key]
    bucket.put(key, [unconfirmed(bucket, key, [])])
    assert Receipts(bucket, "/mirror/one").receipt("a").version == -1
    assert list(damaged_receipts(bucket)) == []


WRONG = [{"record": True}, {"version": 1.5}, {"destination": ["/mirror/one"]}, {"artifact": None},
         {"record": -1}, {"record": 10**30}, {"destination": "\ud800"}, {"blake3": 1}]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_value_of_a_wrong_type(bucket, wrong):
    key = key_of(bucket, "/mirror/one", "a")
    bucket.put(key, [json.dumps(json.loads(bytes(bucket.get(key))) | wrong).encode()])
    with pytest.warns(DamageWarning, match=key):
        assert len(list(receipts(bucket))) == 4
    with pytest.warns(DamageWarning, match=key):
        assert mirrored_up_to(bucket, "a") == -1


def test_a_key_that_is_not_known_is_ignored(bucket):
    key = key_of(bucket, "/mirror/one", "a")
    bucket.put(key, [json.dumps(json.loads(bytes(bucket.get(key))) | {"new": 1}).encode()])
    assert mirrored_up_to(bucket, "a") == 3
    assert list(damaged_receipts(bucket)) == []


@pytest.fixture
def only(store):
    """The key of the only receipt of a store."""
    store.create()
    Receipts(store.bucket, "/mirror/one").confirm("a", 7, 3)
    return key_of(store.bucket, "/mirror/one", "a")


@pytest.mark.parametrize("is_readable", [True, False])
def test_the_only_receipt_of_a_mirror(store, only, is_readable):
    data = bytes(store.bucket.get(only))
    store.bucket.put(only, [data.replace(b'"version":3', b'"version":9') if is_readable else b"?"])
    with pytest.warns(DamageWarning, match=only):
        [receipt] = receipts(store.bucket)
    assert (receipt.is_located, receipt.version) == (is_readable, -1)
    assert receipt.destination == ("/mirror/one" if is_readable else only.rpartition("/")[0])


def test_a_damaged_receipt_is_written_again_when_its_mirror_is_registered(store, only):
    store.bucket.put(only, [b"?"])
    mirror = Receipts(store.bucket, "/mirror/one")
    with pytest.warns(DamageWarning, match="written again"):
        mirror.register("a")
    assert list(damaged_receipts(store.bucket)) == []
    assert mirror.receipt("a").version == -1


def test_a_mirror_that_lost_versions_confirms_nothing(bucket):
    Receipts(bucket, "/mirror/one").revoke()
    assert {r.version for r in receipts(bucket) if r.destination == "/mirror/one"} == {-1}
    assert {r.version for r in receipts(bucket) if r.destination == "/mirror/two"} == {3}


@pytest.mark.parametrize("other", [("/mirror/one", "b"), ("/mirror/two", "a")])
def test_a_receipt_in_the_place_of_another_one(bucket, other):
    key = key_of(bucket, "/mirror/one", "a")
    bucket.put(key, [bucket.get(key_of(bucket, *other))])
    assert [k for k, _ in damaged_receipts(bucket)] == [key]


def test_a_receipt_of_an_earlier_kept_has_no_checksum(bucket):
    key = key_of(bucket, "/mirror/one", "a")
    value = json.loads(bytes(bucket.get(key)))
    del value["blake3"]
    bucket.put(key, [json.dumps(value).encode()])
    assert Receipts(bucket, "/mirror/one").receipt("a").version == 3


HEAD = MirrorHead(9, "a" * 32, "b" * 32)


def test_a_receipt_names_the_mirror_and_the_source(store):
    """An earlier kept reads the four keys and their checksum."""
    store.create()
    Receipts(store.bucket, "/mirror", "c" * 32).confirm("a", 7, 3, HEAD)
    [receipt] = receipts(store.bucket)
    assert receipt == ("/mirror", "a", 7, 3, HEAD, "c" * 32)
    value = json.loads(bytes(store.bucket.get(key_of(store.bucket, "/mirror", "a"))))
    core = {key: value[key] for key in ("destination", "artifact", "record", "version")}
    assert value["blake3"] == digest(canonical(core))


WRONG_IDS = [{"mirror": None}, {"mirror": {"number": 9}}, {"mirror": []}, {"ids_blake3": 1},
             {"mirror": {"number": "9", "write_id": "a", "store_id": ""}}, {"source": "d" * 32},
             {"mirror": {"number": 9, "write_id": "a" * 32, "store_id": "\ud800"}}]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_IDS)
def test_damaged_ids(store, wrong):
    store.create()
    Receipts(store.bucket, "/mirror", "c" * 32).confirm("a", 7, 3, HEAD)
    key = key_of(store.bucket, "/mirror", "a")
    value = json.loads(bytes(store.bucket.get(key))) | wrong
    store.bucket.put(key, [json.dumps(value).encode()])
    with pytest.warns(DamageWarning, match=key):
        assert mirrored_up_to(store.bucket, "a") == -1


def test_strange_files_are_ignored(bucket):
    for name in (".DS_Store", "x/.DS_Store", f"{'0' * 16}/a b.json", "a.json"):
        bucket.put(f"outbox/{name}", [b"\0"])
    assert len(list(receipts(bucket))) == 4
    assert list(damaged_receipts(bucket)) == []
