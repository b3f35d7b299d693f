"""Protected aliases and mirrors: the list is carried, and only promotions move what it has."""

from __future__ import annotations

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.store.promotion.protected import protections
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


@pytest.mark.parametrize("later", [True, False])
def test_a_source_that_protects_it_later_changes_nothing_about_moves_before(later):
    source, target = pair()
    source.promote("m:v0", "prod")
    copy(source, target)
    target.protect("prod")
    source.set_alias("m:v1", "prod")
    source.delete("m:v0")
    if later:
        source.protect("prod")
    carry(source, target)
    stays, deleted = copy(source, target).notes
    assert "prod is protected in" in stays
    assert deleted.endswith("the alias prod is protected there")
    assert (indices(target), holder(target)) == ([0, 1, 2], 0)
    carry(target, source)
    carry(source, target)
    assert source.protected() == target.protected() == ["prod"]
    source.promote("m:v2", "prod")
    copy(source, target)
    assert holder(target) == 2


def test_a_version_that_gets_the_alias_in_the_same_copy_stays_too():
    source, target = pair()
    target.protect("prod")
    source.promote("m:v1", "prod")
    source.delete("m:v1", force=True)
    copy(source, target)
    assert holder(target) == 1


def test_values_of_a_protection_merge_the_same_in_each_order():
    stores = [kept.Store(MemoryBucket()) for _ in range(3)]
    one, two, three = stores
    one.protect("prod")
    carry(one, two)
    one.unprotect("prod")
    carry(one, three)
    three.protect("prod")
    two.protect("other")
    for source, target in [(three, two), (two, one), (one, three), (three, one), (one, two)]:
        carry(source, target)
    values = [[found._asdict() for found in protections(store.bucket)] for store in stores]
    assert values[0] == values[1] == values[2]
    assert three.protected() == ["other", "prod"]
    again = next(found for found in protections(one.bucket) if found.alias == "prod")
    assert again.began > again.broken


@pytest.mark.parametrize("how", ["promote", "rollback", "by hand"])
def test_an_alias_does_not_leave_its_version_for_one_that_the_copy_has_deleted(how):
    source, target = pair()
    source.promote("m:v0", "prod")
    source.promote("m:v1", "prod")
    copy(source, target)
    target.delete("m:v0")
    if how == "rollback":
        source.protect("prod")
        carry(source, target)
        source.rollback("m:prod")
    elif how == "promote":
        source.promote("m:v0", "prod")
    else:
        source.set_alias("m:v0", "prod")
    [note] = copy(source, target).notes
    assert note == (
        f"the alias prod was put on v0 in {source.location}, which is deleted in "
        f"{target.location}: there it stays on v1. To move it, undelete v0 there, and promote it"
    )
    assert holder(target) == 1
    copy(target, source)
    assert holder(source) == 0
    source.promote("m:v2", "prod")
    assert copy(source, target).notes == ()
    assert holder(target) == 2


def test_an_alias_that_names_nothing_in_the_copy_follows():
    source, target = pair()
    target.delete("m:v0")
    source.set_alias("m:v0", "x")
    [note] = copy(source, target).notes
    assert "there it names nothing" in note
    target.undelete("m:v0")
    assert holder(target, "x") == 0


def test_a_version_that_the_source_deletes_too_keeps_its_alias_in_both():
    source, target = pair()
    source.set_alias("m:v0", "x")
    source.delete("m:v0", force=True)
    assert copy(source, target).notes == ()
    source.undelete("m:v0")
    copy(source, target)
    assert holder(source, "x") == holder(target, "x") == 0
