"""Repair invents nothing, and touches only what it planned against."""

import os

import pytest

import kept
from kept.bucket.local import LocalBucket
from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged, KeptError
from kept.store.encoding import seal, unseal
from kept.store.receipts import Receipts
from kept.store.repair.repair import carry_out, plan_repair
from kept.sync.mirror.replicate import Sync
from tests.helpers import tree, write


@pytest.fixture
def put(tmp_path):
    """Commit one small file, always under the same name."""

    def commit(store, name, text, **options):
        file = write(tmp_path / "in" / "f.txt", text.encode())
        return store.log_artifact(name, file, **options)

    return commit


@pytest.fixture
def store(tmp_path):
    return kept.open_store(tmp_path / "store")


def record(store, number, name="a"):
    return store.log(name).records.key(number)


def replace(store, number, data, name="a"):
    key = record(store, number, name)
    store.bucket.delete(key)
    if data is not None:
        store.bucket.put(key, [data])


def text_of(version, tmp_path):
    [content] = tree(version.download(tmp_path / "out")).values()
    return content.decode()


def mirrored(store, tmp_path):
    mirror = kept.open_store(tmp_path / "mirror")
    Sync(store, mirror, "a").run(Receipts(store.bucket, mirror.location))
    return mirror


def test_a_place_that_another_writer_has_filled_since_is_left_alone(store, put, tmp_path):
    put(store, "a", "zero")
    put(store, "a", "one")
    mirror = mirrored(store, tmp_path)
    replace(store, 2, None)
    plan, sources = plan_repair(LocalBucket(store.location), [mirror.bucket])
    assert [step.key for step in plan.steps] == [record(store, 2)]
    fresh = kept.open_store(store.location)
    put(fresh, "a", "fresh work", aliases=["prod"])
    with pytest.raises(KeptError, match="since this repair was planned"):
        carry_out(store.bucket, plan, sources)
    assert text_of(kept.open_store(store.location)["a:prod"], tmp_path) == "fresh work"


def test_a_damaged_record_after_a_gap_belongs_to_the_log(store, put, tmp_path):
    for n in range(4):
        put(store, "a", f"{n}")
    good = bytearray(store.bucket.get(record(store, 4)))
    good[200] ^= 1
    replace(store, 3, None)
    replace(store, 4, bytes(good))
    assert store.repair().lost == []
    fresh = kept.open_store(store.location)
    assert fresh.verify().ok
    assert [text_of(v, tmp_path) for v in fresh.versions("a")] == ["0", "1", "2", "3"]


def test_records_after_a_gap_that_is_too_long_stay(store, put, monkeypatch):
    monkeypatch.setattr(kept.store.log.records, "MOST_LOST", 5)
    monkeypatch.setattr(kept.store.repair.logs, "_MOST_LOST", 5)
    for n in range(20):
        put(store, "a", f"{n}")
    for number in range(5, 17):
        replace(store, number, None)
    plan = store.repair()
    assert ["too many records" in problem.message for problem in plan.lost] == [True]
    left = [v.index for v in kept.open_store(store.location).versions("a")]
    assert left == [0, 1, 2, 3, 16, 17, 18, 19]


def test_the_fence_of_a_mirrors_gc_is_not_taken_for_a_lost_record(store, put, tmp_path):
    for n in range(4):
        put(store, "a", f"{n}")
    mirror = kept.open_store(tmp_path / "mirror")
    Sync(store, mirror, "a").run()
    put(mirror, "b", "waste")
    mirror.delete("b:v0", force=True)
    mirror.gc(grace=0)
    replace(store, 2, None)
    replace(store, 3, None)
    assert store.repair([mirror.location]).lost == []
    fresh = kept.open_store(store.location)
    assert [text_of(v, tmp_path) for v in fresh.versions("a")] == ["0", "1", "2", "3"]


def test_a_lost_alias_record_does_not_become_a_version(store, put, tmp_path):
    put(store, "a", "zero")
    store.set_alias("a:v0", "prod")
    mirrored(store, tmp_path)

    class Killed(BaseException):
        pass

    class Dying(LocalBucket):
        def put_if_absent(self, key, parts):
            if "/b/log/" in key:
                raise Killed
            super().put_if_absent(key, parts)

    with pytest.raises(Killed):
        put(kept.Store(Dying(store.location)), "b", "other experiment")
    replace(store, 2, None)
    kept.open_store(store.location).repair()
    fresh = kept.open_store(store.location)
    assert [text_of(v, tmp_path) for v in fresh.versions("a")] == ["zero"]
    assert fresh.verify().ok


@pytest.mark.parametrize("chained", [True, False])
def test_damaged_alias_records_between_versions_stay_alias_records(store, put, tmp_path, chained):
    put(store, "a", "0")
    store.set_alias("a:v0", "prod")
    put(store, "a", "1")
    put(store, "a", "2")
    if not chained:
        for number in range(1, 5):
            event = unseal(store.bucket.get(record(store, number)), "")
            rest = {k: event[k] for k in event if k not in ("previous", "artifact")}
            replace(store, number, seal(rest))
    replace(store, 2, b"?")
    if chained:
        replace(store, 3, b"?")
    kept.open_store(store.location).repair()
    fresh = kept.open_store(store.location)
    assert fresh.verify().ok
    assert [text_of(v, tmp_path) for v in fresh.versions("a")] == ["0", "1", "2"]
    assert put(fresh, "a", "3").index == 3


def test_a_repeated_number_in_a_chain_ends_after_one_repair(put, tmp_path):
    bucket = MemoryBucket()
    store = kept.Store(bucket)
    for n in range(3):
        put(store, "a", f"{n}")
    log = kept.Store(bucket).log("a")
    event = log.records.read(3)
    again = {k: event[k] for k in event if k not in ("number", "previous", "write_id", "time")}
    log.append(again | {"index": 2})  # as a forger would
    for _ in range(2):
        kept.Store(bucket).repair()
        fresh = kept.Store(bucket)
        assert fresh.verify().ok
        assert [v.index for v in fresh.versions("a")] == [0, 1, 2, 3]
    assert kept.Store(bucket).repair().is_empty


def test_the_manifest_of_a_live_version_stays(store, put, tmp_path):
    put(store, "a", "same")
    put(store, "b", "same")
    store.delete("a:v0", force=True)
    [blob] = store.bucket.keys("blobs/")
    store.bucket.put(blob, [b"?" * 30])
    assert {problem.where for problem in store.repair().lost} == {"a:v0", "b:v0"}
    fresh = kept.open_store(store.location)
    put(fresh, "c", "same")
    assert text_of(fresh["b:v0"], tmp_path) == "same"
    assert fresh.verify().ok


def test_a_writer_that_was_open_before_a_repair_follows_the_new_record(store, put, tmp_path):
    put(store, "a", "0")
    put(store, "a", "1")
    open_before = kept.open_store(store.location)
    assert open_before.version("a").index == 1
    replace(store, 2, b"?")
    with pytest.raises(Damaged):
        put(open_before, "a", "2")
    kept.open_store(store.location).repair()
    assert put(open_before, "a", "2", aliases=["prod"]).index == 2
    fresh = kept.open_store(store.location)
    assert fresh.verify().ok
    assert text_of(fresh["a:prod"], tmp_path) == "2"


def test_in_object_storage_a_missing_blob_is_marked_and_stored_again(put, tmp_path):
    class Remote(MemoryBucket):
        is_remote = True

    bucket = Remote()
    big = write(tmp_path / "in" / "big", os.urandom(2_000_000))
    kept.Store(bucket).log_artifact("a", [big, write(tmp_path / "in" / "n", b"0")])
    bucket.delete(max(bucket.keys("blobs/"), key=bucket.size))
    assert len(kept.Store(bucket).repair().lost) == 1
    kept.Store(bucket).log_artifact("a", [big, write(tmp_path / "in" / "n", b"1")])
    assert kept.Store(bucket).verify().ok


def test_a_wrong_receipt_makes_no_versions(store, put):
    put(store, "a", "0")
    Receipts(store.bucket, "/mirror").confirm("a", 2**61, 7)
    plan = store.repair(dry_run=True)
    assert plan.steps == []
