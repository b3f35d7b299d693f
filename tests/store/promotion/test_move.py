"""Promotions under a condition, and rollbacks, with other writers at the same time."""

from __future__ import annotations

import contextlib
import itertools
import threading

import pytest

import kept
from kept.errors import (
    AliasProtected,
    ArtifactNotFound,
    ConditionNotMet,
    InvalidCondition,
    InvalidInput,
    InvalidName,
    InvalidReference,
    VersionNotFound,
)


@pytest.fixture
def five(store):
    """Versions v0 to v4 with the accuracies 0.0 to 0.4."""
    for n in range(5):
        store.log_artifact("m", kept.MemoryFile("f", [b"%d" % n]), metadata={"acc": n / 10})
    return store


def holder(store, alias="prod"):
    return store.version(f"m:{alias}").index


def newest_event(store):
    return next(store.log("m").view().backwards())


def test_a_promotion_moves_the_alias_and_says_why(five, monkeypatch):
    monkeypatch.setenv("KEPT_USER", "ann")
    five.promote("m:v1", "prod")
    version = five.promote("m:v3", "prod", condition="acc >= 0.3", message="passed")
    assert (version.reference, version.aliases) == ("m:v3", ("prod",))
    event = newest_event(five)
    assert (event["event"], event["aliases"], event["by"]) == ("alias", {"prod": 3}, "ann")
    assert event["promotion"] == {
        "action": "promote", "was": 1, "if": "acc >= 0.3", "message": "passed",
    }  # fmt: skip
    assert five.promote("m", "prod").index == 4  # the newest version


class TestCondition:
    @pytest.mark.parametrize(
        ("condition", "met"),
        [
            ("not f1 < 0.9", False),
            ("not (f1 < 0.9 and acc > 0.1)", False),
            ("not (f1 < 0.9 or acc > 0.1)", False),
            ("f1 != 1", False),
            ("f1 not in (1, 2)", False),
            ("not loss < 0.9", False),
            ("loss != 0.9", False),
            ("acc = 0.2 or f1 > 0.9", True),
            ("not (acc > 0.3 and f1 > 0.9)", True),
            ("not f1", True),
            ("not tags", True),
            ("not tags = bad", True),
            ("loss = nan", True),
            ("not acc > 0.3", True),
        ],
    )
    def test_a_missing_value_or_nan_fulfils_nothing(self, five, condition, met):
        five.version("m:v2").log_metrics({"loss": float("nan")})
        if met:
            five.promote("m:v2", "prod", condition=condition)
            return
        with pytest.raises(ConditionNotMet, match=r"no f1|loss = 'nan'"):
            five.promote("m:v2", "prod", condition=condition)

    def test_not_met_it_names_each_value_and_moves_nothing(self, five):
        five.promote("m:v1", "prod")
        with pytest.raises(ConditionNotMet) as caught:
            five.promote("m:v2", "prod", condition="acc >= 0.3 and test_acc > 0.9")
        assert str(caught.value) == (
            "m:v2 does not fulfil 'acc >= 0.3 and test_acc > 0.9', so prod stays on m:v1. "
            "Found: acc = 0.2, no test_acc."
        )
        assert holder(five) == 1

    def test_a_metric_that_was_logged_later_counts(self, five):
        five.log("m").append({"event": "metrics", "index": 2, "metrics": {"acc": 0.95}})
        assert five.promote("m:v2", "prod", condition="acc > 0.9").index == 2

    def test_it_is_decided_on_the_log_in_which_it_lands(self, five, monkeypatch):
        """Another writer logs a worse value between the look and the record."""
        log = five.log("m")
        append_after = log.append_after

        def slow(view, event):
            monkeypatch.undo()
            log.append({"event": "metrics", "index": 3, "metrics": {"acc": 0.1}})
            return append_after(view, event)

        monkeypatch.setattr(log, "append_after", slow)
        with pytest.raises(ConditionNotMet, match=r"acc = 0\.1"):
            five.promote("m:v3", "prod", condition="acc >= 0.3")
        with pytest.raises(VersionNotFound):
            five.version("m:prod")

    def test_the_place_of_an_error_is_shown(self, five):
        with pytest.raises(InvalidCondition, match=r"\^"):
            five.promote("m:v3", "prod", condition="acc >=")

    def test_provenance_that_an_earlier_version_holds_is_read(self, five):
        made = {"event": "version", "type": "model", "size": 1, "aliases": [], "metadata": {}}
        record = five.version("m:v4").record
        made |= {"digest": record.digest, "manifest": record.manifest}
        five.log("m").append(made | {"index": 5, "provenance": {"framework": "jax"}})
        five.log("m").append(made | {"index": 6, "provenance": 5})
        assert five.promote("m:v6", "prod", condition="framework = jax").index == 6


class TestFrom:
    def test_the_version_must_have_the_alias(self, five):
        five.set_alias("m:v2", "staging")
        with pytest.raises(ConditionNotMet) as caught:
            five.promote("m:v3", "prod", from_alias="staging")
        assert str(caught.value) == (
            "m:v3 does not have the alias staging, so prod stays on no version. Found the "
            "aliases: none."
        )
        assert five.promote("m:v2", "prod", from_alias="staging").aliases == ("prod", "staging")
        assert newest_event(five)["promotion"]["from"] == "staging"

    def test_a_name_alone_means_the_version_that_has_it(self, five):
        five.set_alias("m:v2", "staging")
        assert five.promote("m", "prod", from_alias="staging").index == 2
        assert five.promote("m", "prod", from_alias="latest").index == 4
        with pytest.raises(VersionNotFound, match="other"):
            five.promote("m", "prod", from_alias="other")


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (InvalidName, {"alias": "epoch_3"}),
        (InvalidName, {"alias": "latest"}),
        (InvalidName, {"alias": "v3"}),
        (InvalidName, {"from_alias": "a b"}),
        (InvalidInput, {"message": 3}),
        (InvalidCondition, {"condition": ""}),
        (InvalidReference, {"reference": "m:a b"}),
        (VersionNotFound, {"reference": "m:v9"}),
        (ArtifactNotFound, {"reference": "n"}),
    ],
)
def test_bad_input_changes_nothing(five, error, arguments):
    head = five.log("m").view().head
    given = {"reference": "m:v1", "alias": "prod"} | arguments
    with pytest.raises(error):
        five.promote(given.pop("reference"), given.pop("alias"), **given)
    assert five.log("m").view().head == head


class TestRollback:
    def test_each_goes_one_move_further_back(self, five):
        for n in (1, 3, 4):
            five.promote(f"m:v{n}", "prod")
        assert five.rollback("m:prod", message="slow").index == 3
        assert newest_event(five)["promotion"] == {
            "action": "rollback", "was": 4, "message": "slow",
        }  # fmt: skip
        assert five.rollback("m:prod").index == 1
        with pytest.raises(VersionNotFound) as caught:
            five.rollback("m:prod")
        assert str(caught.value) == (
            "There is no earlier version to roll m:prod back to; prod stays on m:v1. To choose "
            "one: kept promote m:vN prod"
        )
        five.promote("m:v2", "prod")
        assert five.rollback("m:prod").index == 1

    def test_moves_by_hand_and_by_commits_are_taken_back_too(self, five):
        five.set_alias("m:v0", "x")
        five.log_artifact("m", kept.MemoryFile("f", [b"x"]), aliases=["x"])
        assert five.rollback("m:x").index == 0

    def test_deleted_versions_are_passed_over(self, five):
        for n in (0, 1, 2, 3):
            five.promote(f"m:v{n}", "prod")
        five.delete("m:v2")
        five.delete("m:v1")
        assert five.rollback("m:prod").index == 0
        five.promote("m:v4", "prod")
        five.delete("m:v0")
        with pytest.raises(VersionNotFound, match="had it before are deleted: m:v0"):
            five.rollback("m:prod")
        assert holder(five) == 4

    def test_a_removed_alias_comes_back(self, five):
        five.set_alias("m:v2", "x")
        five.remove_alias("m", "x")
        assert five.rollback("m:x").index == 2

    def test_what_cannot_be_rolled_back(self, five):
        with pytest.raises(VersionNotFound, match="No version of m has ever had the alias 'prod'"):
            five.rollback("m:prod")
        for wrong in ("m", "m:v3", "m:latest"):
            with pytest.raises(InvalidReference, match="NAME:ALIAS"):
                five.rollback(wrong)
        with pytest.raises(InvalidName, match="by hand"):
            five.rollback("m:epoch_1")
        with pytest.raises(ArtifactNotFound):
            five.rollback("n:prod")


def test_promotions_and_rollbacks_at_once_are_one_history(store):
    """Every record's `was` is the version that the record before it has put the alias on."""
    for n in range(4):
        store.log_artifact("m", kept.MemoryFile("f", [b"%d" % n]))
    store.promote("m:v0", "prod")

    def work(n):
        own = kept.Store(store.bucket)
        for _ in range(5):
            own.promote(f"m:v{n}", "prod")
            with contextlib.suppress(VersionNotFound):  # the others were faster, up to the first
                own.rollback("m:prod")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moves = [e for e in store.log("m").view().backwards() if "promotion" in e][::-1]
    assert len(moves) >= 16
    for before, after in itertools.pairwise(moves):
        assert after["promotion"]["was"] == before["aliases"]["prod"]


def test_set_alias_and_remove_alias_by_hand(five):
    assert five.set_alias("m:v1", "x").aliases == ("x",)
    assert five.set_alias("m:v2", "x").aliases == ("x",)
    assert five.version("m:v1").aliases == ()
    for automatic in ("epoch_3", "epoch_0_batch_12"):
        with pytest.raises(InvalidName, match="cannot be set by hand"):
            five.set_alias("m:v1", automatic)
    five.log_artifact("m", kept.MemoryFile("f", [b"e"]), aliases=["epoch_3"])
    five.remove_alias("m", "epoch_3")
    five.remove_alias("m", "x")
    with pytest.raises(VersionNotFound):
        five.remove_alias("m", "x")


def test_a_promotion_needs_no_protection_and_ignores_it(five):
    five.promote("m:v1", "prod")
    five.protect("prod")
    five.promote("m:v2", "prod")
    assert five.rollback("m:prod").index == 1
    with pytest.raises(AliasProtected):
        five.set_alias("m:v2", "prod")
