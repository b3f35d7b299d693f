"""Protected aliases and mirrors: the list is carried, and only promotions move what it has."""

from __future__ import annotations

import pytest

import kept
from kept.sync import courier
from kept.sync.mirror.mirrors import Mirror
from kept.sync.mirror.protections import carry_protections
from kept.sync.mirror.replicate import Sync
from tests.sync.mirror.test_merge import copy, indices, pair


def carry(source, target):
    return carry_protections(source, target, set())


def holder(store, alias="prod"):
    return store.version(f"m:{alias}").index


def test_the_list_is_carried_and_the_later_value_counts():
    source, target = pair()
    source.protect("prod")
    [note] = carry(source, target)
    assert note == f"the alias prod is protected in {target.location}, too"
    assert target.protected() == ["prod"]
    assert carry(source, target) == []
    target.unprotect("prod")
    assert carry(source, target) == []
    assert (source.protected(), target.protected()) == (["prod"], [])
    assert len(carry(target, source)) == 1
    assert source.protected() == []


def test_it_makes_a_new_store_first():
    from kept.bucket.memory import MemoryBucket

    source, target = kept.Store(MemoryBucket()), kept.Store(MemoryBucket())
    assert carry(source, target) == []
    assert not target.exists
    source.protect("prod")
    carry(source, target)
    assert target.exists
    assert kept.Store(target.bucket).protected() == ["prod"]


def test_promotions_and_rollbacks_are_carried_with_their_reasons():
    source, target = pair()
    source.protect("prod")
    carry(source, target)
    source.promote("m:v0", "prod", message="good")
    source.promote("m:v2", "prod")
    source.rollback("m:prod", message="slow")
    assert copy(source, target).notes == ()
    assert holder(target) == 0
    assert [c.text for c in target.history("m")] == [c.text for c in source.history("m")]


def test_a_move_without_a_promotion_does_not_reach_a_store_that_protects_the_alias():
    source, target = pair()
    target.promote("m:v0", "prod")
    target.protect("prod")
    source.set_alias("m:v2", "prod")
    source.set_alias("m:v2", "other")
    [note] = copy(source, target).notes
    assert note == (
        f"the alias prod is protected in {target.location} and stays there (v0); in "
        f"{source.location} it was moved without a promotion (v2)"
    )
    assert (holder(target), holder(target, "other")) == (0, 2)
    assert copy(source, target).notes == ()
    source.log_artifact("m", kept.MemoryFile("f", [b"new"]), aliases=["prod"])
    assert len(copy(source, target).notes) == 1
    assert (indices(target), holder(target)) == ([0, 1, 2, 3], 0)
    source.promote("m:v1", "prod")
    assert holder(target) == 0
    copy(source, target)
    assert holder(target) == 1


def test_its_version_stays_when_the_source_deletes_it():
    source, target = pair()
    source.set_alias("m:v0", "prod")
    copy(source, target)
    target.protect("prod")
    source.delete("m:v0", force=True)
    [note] = copy(source, target).notes
    assert note.endswith("the alias prod is protected there")
    assert (indices(source), indices(target)) == ([1, 2], [0, 1, 2])


def test_what_was_moved_before_it_was_protected_is_carried():
    source, target = pair()
    source.set_alias("m:v0", "prod")
    target.protect("prod")
    assert copy(source, target).notes == ()
    assert holder(target) == 0


@pytest.mark.parametrize("both", [True, False])
def test_a_store_that_protects_it_too_has_checked_its_moves(both):
    """Here the alias was moved between two protections; the second one came to the copy first."""
    source, target = pair()
    source.protect("prod")
    carry(source, target)
    source.unprotect("prod")
    source.set_alias("m:v1", "prod")
    if both:
        source.protect("prod")
    carry(source, target)
    assert copy(source, target).notes == ()
    assert holder(target) == 1


def test_a_copy_under_another_name_in_one_store():
    source, _ = pair()
    source.promote("m:v0", "prod")
    source.protect("prod")
    Sync(source, source, "m", "n").run()
    assert source.version("n:prod").index == 0


def test_a_mirror_of_a_run_gets_the_list_and_its_changes(monkeypatch, shown):
    monkeypatch.setattr(courier, "NOTICE_SECONDS", 60)  # a busy machine needs no notice
    source, target = pair()
    source.protect("prod")
    mirror = Mirror(source, target)
    mirror.begin("m")
    mirror.courier.finish()
    assert target.protected() == ["prod"]
    source.promote("m:v1", "prod")
    source.unprotect("prod")
    mirror.courier.wake("m")
    mirror.courier.finish()
    assert (target.protected(), holder(target)) == ([], 1)
    assert [text for text in shown if "prod" in text] == [
        f"kept: the alias prod is protected in {target.location}, too",
        f"kept: the alias prod is no longer protected in {target.location}, too",
    ]
