"""Two stores that both change: the later move of an alias counts, and a mirror protects its own."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import KeptError, VersionInUse
from kept.store.log import log as log_module
from kept.store.log.history import live, version_records
from kept.sync.mirror.replicate import Sync
from tests.sync.mirror.test_replicate import Failing, state


class Named(MemoryBucket):
    """A bucket in memory with a location of its own."""

    def __init__(self, location):
        super().__init__()
        self.location = location


def pair(versions=3, **options):
    """A store with some versions, and its mirror."""
    source, target = kept.Store(Named("memory:source")), kept.Store(Named("memory:target"))
    for n in range(versions):
        source.log_artifact("m", kept.MemoryFile("f", [b"%d" % n]), **options)
    Sync(source, target, "m").run()
    return source, target


def copy(source, target):
    return Sync(source, target, "m").run()


def indices(store):
    return [version.index for version in store.versions("m")]


class TestProtection:
    def test_an_alias_of_the_mirror_protects_from_the_retention_of_the_source(self):
        source, target = pair(4)
        target.set_alias("m:v0", "prod")
        source.prune("m", kept.Keep(last=1))
        copied = copy(source, target)
        assert indices(source) == [3]
        assert indices(target) == [0, 3]
        [note] = copied.notes
        assert note == (
            f"v0 was deleted in {source.location} and stays in {target.location}: the alias prod "
            "was set there"
        )
        again = copy(source, target)
        assert (again.versions, again.changes, again.notes) == (0, 0, ())
        target.gc(grace="0s")
        assert target.verify().ok
        assert target["m:prod"].index == 0

    def test_an_alias_of_the_mirror_protects_from_a_user_too_until_the_source_knows_it(self):
        source, target = pair()
        target.set_alias("m:v0", "prod")
        target.set_alias("m:v1", "demo")
        source.delete("m:v0")
        assert "stays in" in copy(source, target).notes[0]
        assert indices(target) == [0, 1, 2]
        copy(target, source)
        with pytest.raises(VersionInUse, match="demo"):
            source.delete("m:v1")
        source.delete("m:v1", force=True)
        assert copy(source, target).notes == ()
        assert indices(target) == [0, 2]
        assert indices(source) == [2]

    def test_an_alias_that_the_source_had_protects_nothing(self):
        source, target = pair(aliases=["best"])
        source.delete("m:v2", force=True)
        assert copy(source, target).notes == ()
        assert indices(target) == [0, 1]

    def test_automatic_aliases_do_not_protect_from_a_rule(self):
        source, target = pair()
        target.log("m").append({"event": "alias", "aliases": {"epoch_1": 0}})
        source.prune("m", kept.Keep(last=2))
        copy(source, target)
        assert indices(target) == [1, 2]

    def test_a_version_that_was_undeleted_at_the_mirror_stays(self):
        source, target = pair()
        target.delete("m:v0")
        target.undelete("m:v0")
        source.prune("m", kept.Keep(last=1))
        assert "it was undeleted there" in copy(source, target).notes[0]
        assert indices(target) == [0, 2]
        copy(target, source)
        assert indices(source) == [2]

    def test_a_version_that_is_deleted_in_both_stores_needs_no_note(self):
        source, target = pair()
        target.set_alias("m:v0", "prod")
        target.delete("m:v0", force=True)
        source.delete("m:v0")
        assert copy(source, target).notes == ()
        assert indices(target) == [1, 2]

    def test_an_alias_that_is_set_while_the_deletion_is_replayed(self, monkeypatch):
        source, target = pair()
        source.prune("m", kept.Keep(last=2))
        log = target.log("m")
        append, done = log.append_after, []

        def late(view, event):
            if not done:
                done.append(True)
                target.set_alias("m:v0", "prod")
            return append(view, event)

        monkeypatch.setattr(log, "append_after", late)
        copy(source, target)
        assert indices(target) == [0, 1, 2]


class TestUndeletedAndDeletedAgain:
    """Between the two events the target must not show a version without content."""

    @pytest.mark.parametrize("copies_before", [False, True])
    @pytest.mark.parametrize("steps", range(1, 8))
    def test_no_moment_shows_a_version_without_content(self, steps, copies_before):
        source, inner = kept.Store(MemoryBucket()), MemoryBucket()
        for n in range(2):
            source.log_artifact("m", kept.MemoryFile("f", [b"%d" % n]))
        if copies_before:
            copy(source, kept.Store(inner))
        source.delete("m:v0")
        copy(source, kept.Store(inner))
        kept.Store(inner).gc(grace="0s")
        source.undelete("m:v0")
        source.delete("m:v0")
        source.gc(grace="0s")
        try:
            copy(source, kept.Store(Failing(inner, steps)))
        except KeptError:
            assert kept.Store(inner).verify().ok
        target = kept.Store(inner)
        copy(source, target)
        assert target.verify().ok
        assert indices(target) == [1]
        kinds = [event["event"] for event in target.log("m").view().backwards()]
        assert "undelete" not in kinds
        assert copy(source, target).changes == 0

    def test_an_undeletion_that_lasts_brings_the_content(self):
        source, target = pair()
        source.delete("m:v0")
        copy(source, target)
        target.gc(grace="0s")
        source.undelete("m:v0")
        copy(source, target)
        assert indices(target) == [0, 1, 2]
        assert target.verify().ok


class TestAliasesMovedInBothStores:
    @pytest.mark.parametrize("later", ["source", "target"])
    @pytest.mark.parametrize("first", ["there", "back"])
    def test_the_later_move_counts_and_the_other_is_reported(self, later, first):
        stores = source, target = pair()
        movers = stores if later == "target" else stores[::-1]
        for n, store in enumerate(movers):
            store.set_alias(f"m:v{n}", "prod")
        ways = [(source, target), (target, source)][:: 1 if first == "there" else -1]
        [note] = copy(*ways[0]).notes
        assert note == (
            "the alias prod was moved in both stores: the later move counts, v1 in "
            f"{movers[1].location}, not v0 in {movers[0].location}"
        )
        assert copy(*ways[1]).notes in ((), (note,))
        assert [store["m:prod"].index for store in stores] == [1, 1]
        assert [copy(*way).notes for way in ways] == [(), ()]

    def test_the_same_move_in_both_stores_is_no_conflict(self):
        source, target = pair()
        for store in (source, target):
            store.set_alias("m:v1", "prod")
        assert copy(source, target).notes == copy(target, source).notes == ()

    def test_a_removal_is_a_move(self):
        source, target = pair(aliases=["prod"])
        target.remove_alias("m", "prod")
        source.set_alias("m:v0", "prod")
        source.remove_alias("m", "prod")
        target.set_alias("m:v1", "prod")
        assert "v1 in" in copy(source, target).notes[0]
        assert "not removed in" in copy(target, source).notes[0]
        assert [store["m:prod"].index for store in (source, target)] == [1, 1]

    def test_the_alias_of_a_later_version_counts(self):
        source, target = pair(aliases=["best"])
        target.set_alias("m:v0", "best")
        source.log_artifact("m", kept.MemoryFile("f", [b"new"]), aliases=["best"])
        [note] = copy(source, target).notes
        assert "v3 in" in note
        copy(target, source)
        assert [store["m:best"].index for store in (source, target)] == [3, 3]

    def test_an_expiry_that_both_stores_set(self):
        source, target = pair()
        source.set_ttl("m:v0", "1d")
        target.set_ttl("m:v0", "9d")
        for way in ((source, target), (target, source)):
            copy(*way)
        assert state(source) == state(target)
        source.set_ttl("m:v0", None)
        copy(source, target)
        assert target["m:v0"].record.expires is None


MOVES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["prod", "demo"]), st.sampled_from([0, 1, None])),
    max_size=3,
)
WAYS = list(itertools.permutations(range(3), 2))


def moved(store, alias, index):
    return store.log("m").append({"event": "alias", "aliases": {alias: index}})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(MOVES, st.lists(st.sampled_from(WAYS), max_size=3)), max_size=4))
def test_stores_end_equal_by_the_latest_time_in_whatever_order_they_are_copied(rounds):
    stores = [*pair(), kept.Store(MemoryBucket())]
    copy(stores[0], stores[2])
    expected = {}
    for moves, ways in rounds:
        for at, alias, index in moves:
            moved(stores[at], alias, index)
            expected[alias] = index
        for one, other in ways:
            copy(stores[one], stores[other])
    for one, other in WAYS * 2:
        copy(stores[one], stores[other])
    for store in stores:
        found = {a: r.index for r in live(store.log("m").view().items()) for a in r.aliases}
        assert found == {"latest": 2} | {a: i for a, i in expected.items() if i is not None}
    for one, other in WAYS:
        assert copy(stores[one], stores[other]).changes == 0


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_two_stores_end_equal_in_all_orders_also_with_a_wrong_clock(seconds, monkeypatch):
    """Steps: a move in the source or the target, a copy there or back."""

    class Wrong(datetime):
        ahead = timedelta()

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + cls.ahead

    monkeypatch.setattr(log_module, "datetime", Wrong)
    for steps in itertools.product("st><", repeat=4):
        source, target = pair()
        for n, step in enumerate([*steps, "<", ">", "<"]):
            Wrong.ahead = timedelta(seconds=seconds if step == "t" else 0)
            if step in "st":
                moved(source if step == "s" else target, "prod", n % 3)
            else:
                copy(*((source, target) if step == ">" else (target, source)))
        assert state(source) == state(target), steps


CHANGES = {
    "metrics": st.fixed_dictionaries(
        {"metrics": st.dictionaries(st.sampled_from("ab"), st.integers(0, 9))},
        optional={"dataset": st.sampled_from("xy"), "aliases": st.just({"best": 1})},
    ),
    "update": st.fixed_dictionaries(
        {},
        optional={
            "description": st.sampled_from(["one", "two", None]),
            "tags": st.dictionaries(st.sampled_from("tu"), st.booleans()),
            "set": st.dictionaries(st.sampled_from("kl"), st.integers(0, 9)),
            "note": st.just("a note"),
        },
    ),
    "rule": st.fixed_dictionaries(
        {"best": st.sampled_from([None, {"monitor": "a", "mode": "min"}])}
    ),
}
CHANGE = st.one_of(
    st.tuples(st.just(kind), of, st.integers(0, 2), st.integers(0, 2))
    for kind, of in CHANGES.items()
)


def said(store):
    """Return what the versions of a store are, without the order in which the store got it."""
    return {
        r.index: (
            r.deleted,
            set(r.aliases),
            r.changes.metrics,
            r.changes.description,
            r.changes.tags,
            r.described,
            sorted(note.text for note in r.changes.notes),
        )
        for r in version_records(store.log("m").view().items())
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CHANGE, st.lists(st.sampled_from(WAYS), max_size=2)), max_size=6))
def test_stores_end_equal_in_what_was_said_later(rounds):
    stores = [*pair(), kept.Store(Named("memory:third"))]
    copy(stores[0], stores[2])
    for (kind, more, index, at), ways in rounds:
        about = {} if kind == "rule" else {"index": index}
        stores[at].log("m").append({"event": kind, **about, **more})
        for one, other in ways:
            copy(stores[one], stores[other])
    for one, other in WAYS * 2:
        copy(stores[one], stores[other])
    for store in stores[1:]:
        assert said(store) == said(stores[0])
        assert store.verify().ok
    for one, other in WAYS:
        assert copy(stores[one], stores[other]).changes == 0


def test_a_restored_artifact_gets_its_content_again():
    source, target = pair()
    source.log("m").append({"event": "remove", "indexes": [0, 1, 2]})
    late = kept.Store(Named("memory:late"))
    copy(source, target)
    copy(source, late)  # has no byte of them
    target.gc(grace="0s")
    assert [list(store.versions("m")) for store in (target, late)] == [[], []]
    source.log("m").append({"event": "restore", "indexes": [0, 2]})
    for store in (target, late):
        copy(source, store)
        assert [v.index for v in store.versions("m")] == [0, 2]
        assert store.verify().ok


def test_a_removal_spares_what_the_mirror_has_named():
    source, target = pair()
    target.set_alias("m:v1", "prod")
    source.log("m").append({"event": "remove", "indexes": [0, 1, 2]})
    [note] = copy(source, target).notes
    assert "v1 was deleted" in note
    assert "the alias prod was set there" in note
    assert indices(target) == [1]


def test_best_follows_the_rule_by_what_both_stores_have_measured():
    source, target = pair()
    source.artifact("m").set_best("acc", "max")
    copy(source, target)
    target["m:v2"].log_metrics({"acc": 0.9})
    source["m:v0"].log_metrics({"acc": 0.5})  # later, and not the best
    for way in ((source, target), (target, source), (source, target)):
        copy(*way)
    assert [store["m:best"].index for store in (source, target)] == [2, 2]
    assert copy(source, target).changes == copy(target, source).changes == 0


def test_an_alias_stays_although_the_source_knows_of_the_deletion_that_it_refused():
    source, target = pair()
    for store in (source, target):
        store.protect("prod")
    source.promote("m:v1", "prod")
    copy(source, target)
    source.set_alias("m:v2", "named")
    target.delete("m:v2")
    copy(target, source)  # v2 stays in the source, because it is named there
    source.promote("m:v2", "prod")
    copied = copy(source, target)
    assert target["m:prod"].index == 1
    assert any("the alias prod was put on v2" in note for note in copied.notes)
    assert source["m:prod"].index == 2
