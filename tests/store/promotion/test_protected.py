"""Protected aliases: moved by promotions only, and never deleted."""

from __future__ import annotations

import json

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import (
    AliasProtected,
    DamageWarning,
    InvalidName,
    NotFound,
)
from kept.store.metadata import MeasuredMetadata
from kept.store.promotion.protected import Protection, protections, take_protection

KEY = "protected/prod.json"


@pytest.fixture
def guarded(store):
    """v0, v1 and v2; prod is on v1, and protected."""
    for n in range(3):
        store.log_artifact("m", kept.MemoryFile("f", [b"%d" % n]))
    store.set_alias("m:v1", "prod")
    store.protect("prod")
    return store


def keys(store, *, without="tmp/"):
    return [key for key in store.bucket.keys("") if not key.startswith(without)]


def test_the_list(store, monkeypatch):
    monkeypatch.setenv("KEPT_USER", "ann")
    assert store.protected() == []
    store.protect("prod")
    store.protect("champion")
    assert store.protected() == ["champion", "prod"]
    assert {found.by for found in protections(store.bucket)} == {"ann"}
    store.unprotect("prod")
    assert store.protected() == ["champion"]
    with pytest.raises(NotFound, match="'prod' is not protected in memory:"):
        store.unprotect("prod")


def test_a_second_protection_keeps_the_first_time(store):
    store.protect("prod")
    before = bytes(store.bucket.get(KEY))
    store.protect("prod")
    assert bytes(store.bucket.get(KEY)) == before


def test_the_first_protection_raises_the_format(store):
    store.log_artifact("m", kept.MemoryFile("f", [b"0"]))
    assert json.loads(bytes(store.bucket.get("kept.json")))["format"] == 1
    store.protect("prod")
    assert json.loads(bytes(store.bucket.get("kept.json")))["format"] == 3
    assert kept.Store(store.bucket).protected() == ["prod"]


@pytest.mark.parametrize("alias", ["latest", "best", "epoch_0", "epoch_3_batch_4", "v3", "a b"])
def test_what_kept_itself_moves_cannot_be_protected(store, alias):
    with pytest.raises(InvalidName):
        store.protect(alias)
    assert store.protected() == []


class TestMoves:
    def test_by_hand(self, guarded):
        head = guarded.log("m").view().head
        with pytest.raises(AliasProtected, match="kept promote m:v2 prod"):
            guarded.set_alias("m:v2", "prod")
        with pytest.raises(AliasProtected, match="nothing removes it"):
            guarded.remove_alias("m", "prod")
        assert guarded.log("m").view().head == head
        assert guarded.set_alias("m:v2", "other").aliases == ("latest", "other")

    def test_by_a_new_version_nothing_is_stored(self, guarded):
        before = keys(guarded)
        with pytest.raises(AliasProtected):
            guarded.log_artifact("m", kept.MemoryFile("f", [b"new"]), aliases=["x", "prod"])
        assert keys(guarded) == before

    def test_by_a_new_artifact_too(self, guarded):
        with pytest.raises(AliasProtected):
            guarded.log_artifact("other", kept.MemoryFile("f", [b"new"]), aliases=["prod"])

    def test_protected_while_the_bytes_are_stored(self, guarded):
        """The commit looks again, so it is refused, and no version appears."""
        guarded.unprotect("prod")

        class Late(MemoryBucket):
            def put_many(self, *args):
                super().put_many(*args)
                guarded.protect("prod")

        store = kept.Store(guarded.bucket)
        guarded.bucket.__class__ = Late
        with pytest.raises(AliasProtected):
            store.log_artifact("m", kept.MemoryFile("f", [b"new"]), aliases=["prod"])
        assert [v.index for v in store.versions("m")] == [0, 1, 2]

    def test_by_a_run_the_checkpoint_is_stored_without_it(self, guarded):
        metadata = MeasuredMetadata({"epoch": 3})
        options = {"aliases": ["epoch_3", "prod"], "metadata": metadata}
        version = guarded.log_artifact("m", kept.MemoryFile("f", [b"new"]), **options)
        assert (version.index, version.aliases) == (3, ("latest", "epoch_3"))
        assert version.withheld == ("prod",)
        again = guarded.log_artifact("m", kept.MemoryFile("f", [b"new"]), **options)
        assert (again.index, again.is_new, again.withheld) == (3, False, ("prod",))
        assert guarded.version("m:prod").index == 1


class TestDeletion:
    def test_even_by_force(self, guarded):
        with pytest.raises(AliasProtected):  # not VersionInUse, which suggests force
            guarded.delete("m:v1")
        with pytest.raises(AliasProtected, match="m:v1 has the alias prod, which is protected"):
            guarded.delete("m:v1", force=True)
        guarded.delete("m:v0", force=True)
        assert [v.index for v in guarded.versions("m")] == [1, 2]

    def test_by_prune_and_by_ttl(self, guarded):
        guarded.set_ttl("m:v1", 0)
        guarded.set_ttl("m:v0", 0)
        guarded.prune("m", kept.Keep(last=1))
        guarded.gc(grace=0)
        assert [v.index for v in guarded.versions("m")] == [1, 2]
        assert guarded.verify().problems == []

    def test_after_another_promotion(self, guarded):
        guarded.promote("m:v2", "prod")
        guarded.delete("m:v1")


class TestDamage:
    @pytest.mark.parametrize(
        "value", [b"", b"{}", b"\xff", b'{"blake3":"00","value":1}', b"x" * 10_000]
    )
    def test_it_counts_as_protected(self, guarded, value):
        guarded.bucket.put(KEY, [value])
        with pytest.warns(DamageWarning, match="kept protect prod"):
            assert guarded.protected() == ["prod"]
        with pytest.raises(AliasProtected):
            guarded.set_alias("m:v2", "prod")
        with pytest.raises(AliasProtected):
            guarded.delete("m:v1", force=True)
        guarded.promote("m:v2", "prod")
        guarded.protect("prod")  # writes it again
        assert guarded.protected() == ["prod"]

    def test_the_value_of_another_alias_says_nothing(self, guarded):
        guarded.bucket.put("protected/PROD.json", [bytes(guarded.bucket.get(KEY))])
        assert guarded.protected() == ["prod"]
        guarded.set_alias("m:v2", "PROD")

    def test_other_keys_are_ignored(self, guarded):
        guarded.bucket.put("protected/a b.json", [b"x"])
        guarded.bucket.put("protected/x.txt", [b"x"])
        assert guarded.protected() == ["prod"]


def test_of_two_values_the_later_one_counts(guarded):
    [found] = protections(guarded.bucket)
    earlier = found._replace(protected=False, time="2020-01-01T00:00:00.000000Z")
    assert take_protection(guarded.bucket, earlier) is None
    assert guarded.protected() == ["prod"]
    later = found._replace(protected=False, time="2040-01-01T00:00:00.000000Z", by="bob")
    assert "no longer protected in memory:" in str(take_protection(guarded.bucket, later))
    assert guarded.protected() == []
    assert take_protection(guarded.bucket, later) is None
    never = Protection("x", protected=False, time=later.time, by="")
    assert take_protection(guarded.bucket, never) is None
    assert [p.alias for p in protections(guarded.bucket)] == ["prod"]


def test_a_store_in_a_folder(tmp_path):
    store = kept.open_store(tmp_path / "store")
    store.protect("prod")
    assert kept.open_store(tmp_path / "store").protected() == ["prod"]


class TestUpkeep:
    def test_verify_names_a_damaged_value_and_repair_protects_again(self, guarded):
        assert guarded.verify().problems == []
        guarded.bucket.put(KEY, [b"{}"])
        [problem] = guarded.verify().problems
        assert (problem.where, problem.key) == (KEY, KEY)
        assert problem.message.startswith("whether prod is protected cannot be read: ")
        plan = guarded.repair()
        assert [step.key for step in plan.steps] == [KEY]
        assert guarded.verify().problems == []
        assert guarded.protected() == ["prod"]
        assert bytes(guarded.bucket.get(f"damaged/{KEY}")) == b"{}"

    def test_a_lost_kept_json_gets_the_format_that_the_list_needs(self, guarded):
        guarded.bucket.delete("kept.json")
        store = kept.Store(guarded.bucket)
        store.repair()
        assert json.loads(bytes(store.bucket.get("kept.json")))["format"] == 3

    def test_gc_and_compact_leave_the_list(self, guarded):
        guarded.gc(grace=0)
        guarded.compact()
        assert guarded.protected() == ["prod"]
