"""Other writers at any moment of a renaming: no version of theirs is deleted, hidden or renumbered.

The other writer acts just before one of the records that the renaming appends. All such moments are
tried.
"""

from __future__ import annotations

import contextlib
import random
import time

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import AliasProtected, ArtifactNotFound, InvalidName, KeptError
from kept.store.log.log import Log
from tests.helpers import finish, start

INTEGRATION = pytest.mark.integration


def content(text):
    return kept.MemoryFile("f", [text.encode()])


def filled():
    """A store with the artifact a: v0 to v2, of which v1 was deleted and undeleted."""
    store = kept.Store(MemoryBucket())
    for n in range(3):
        store.log_artifact("a", content(f"a{n}"), aliases=[f"p{n}"])
    store.delete("a:v1", force=True)
    store.undelete("a:v1")
    store.set_alias("a:v0", "mine")
    return store


def live(store):
    return {n: [v.version for v in store.versions(n)] for n in store.logs.names()}


@pytest.fixture
def meanwhile(monkeypatch):
    """Let another process do something before record number `at` that a call appends."""
    append = Log.append_after

    def meanwhile(bucket, at, act):
        state = {"left": at, "done": False}

        def slow(self, view, event):
            if not state["done"]:
                state["left"] -= 1
                if state["left"] < 0:
                    state["done"] = True
                    act(kept.Store(bucket))
            return append(self, view, event)

        monkeypatch.setattr(Log, "append_after", slow)
        return state

    return meanwhile


def moments(meanwhile, act, new="b", store=filled):
    """Yield the store after each moment at which `act` came in between, and the error."""
    for at in range(100):
        first = store()
        state = meanwhile(first.bucket, at, act)
        error = None
        try:
            kept.Store(first.bucket).rename("a", new)
        except KeptError as raised:
            error = raised
        if not state["done"]:
            assert at > 3
            return
        yield kept.Store(first.bucket), error
    raise AssertionError("it has no end")


def check_whole(store, *expected):
    """Check that these contents exist, and that nothing is damaged."""
    assert store.problems() == []
    found = {v.digest for name in store.logs.names() for v in store.versions(name)}
    other = kept.Store(MemoryBucket())
    wanted = {other.log_artifact("x", content(text)).digest for text in expected}
    assert wanted <= found, live(store)
    store.gc(grace=0)
    assert store.verify().problems == []


OURS = ("a0", "a1", "a2")


def test_another_writer_logs_under_the_new_name(meanwhile):
    refused = 0
    references = []

    def act(other):
        other.gc(grace=0)
        references.append(other.log_artifact("b", content("precious")).reference)

    for store, error in moments(meanwhile, act):
        check_whole(store, *OURS, "precious")
        assert store.version(references[-1]).digest == store.version("b:latest").digest
        if error is not None:
            refused += 1
            assert isinstance(error, InvalidName)
            assert live(store)["a"] == ["v0", "v1", "v2"]
            assert "b exists already" in str(error)
            assert ("b also has copies of v0" in str(error)) == (references[-1] != "b:v0")
        else:
            assert live(store) == {"a": [], "b": ["v0", "v1", "v2", "v3"]}
    assert refused
    assert refused < len(references)


def test_another_process_renames_to_the_same_name_and_a_run_continues_there(meanwhile):
    def act(other):
        other.rename("a", "b")
        assert other.log_artifact("b", content("precious")).reference == "b:v3"

    for store, error in moments(meanwhile, act):
        assert live(store) == {"a": [], "b": ["v0", "v1", "v2", "v3"]}
        check_whole(store, *OURS, "precious")
        assert store.version("b:mine").index == 0
        assert isinstance(error, ArtifactNotFound | InvalidName)


def test_another_process_renames_to_another_name(meanwhile):
    for store, error in moments(meanwhile, lambda other: other.rename("a", "c")):
        assert {n: v for n, v in live(store).items() if v} == {"c": ["v0", "v1", "v2"]}
        check_whole(store, *OURS)
        assert isinstance(error, ArtifactNotFound)
        assert "its versions are in c" in str(error)


def test_what_was_replayed_stays_if_another_writer_builds_on_it(meanwhile):
    kinds = set()

    def act(other):
        other.log_artifact("b", content("precious"))
        other.rename("a", "c")

    for store, error in moments(meanwhile, act):
        check_whole(store, *OURS, "precious")
        assert live(store)["c"] == ["v0", "v1", "v2"]
        assert store.version("b:latest").digest == store.versions("b")[-1].digest
        if len(store.versions("b")) > 1:
            kinds.add(type(error))
            assert "copies of v0" in str(error)
            assert "kept rm b:v0" in str(error)
    assert kinds == {InvalidName, ArtifactNotFound}


def test_a_rename_that_was_faster_may_come_to_the_same_name_in_two_steps(meanwhile):
    def act(other):
        other.rename("a", "c")
        other.rename("c", "b")

    for store, _ in moments(meanwhile, act):
        assert {n: v for n, v in live(store).items() if v} == {"b": ["v0", "v1", "v2"]}
        check_whole(store, *OURS)


def test_the_old_name_goes_on_after_a_rename_that_was_faster(meanwhile):
    def act(other):
        other.rename("a", "b")
        other.log_artifact("a", content("late"))
        other.remove_artifact("a")

    for store, error in moments(meanwhile, act):
        assert live(store)["b"][:3] == ["v0", "v1", "v2"]
        check_whole(store, *OURS)
        assert isinstance(error, ArtifactNotFound)


def test_a_protected_alias_that_comes_meanwhile_leaves_no_copy(meanwhile):
    def act(other):
        other.promote("a:v1", "prod")
        other.protect("prod")

    for store, error in moments(meanwhile, act):
        if error is not None:
            assert isinstance(error, AliasProtected)
            assert {n: v for n, v in live(store).items() if v} == {"a": ["v0", "v1", "v2"]}
        check_whole(store, *OURS)
        store.unprotect("prod")
        if error is not None:
            assert store.rename("a", "b") == 3
        assert live(store) == {"a": [], "b": ["v0", "v1", "v2"]}
        assert store.version("b:prod").index == 1
        check_whole(store, *OURS)


def test_a_copy_with_an_alias_of_a_person_stays(meanwhile):
    said = set()

    def act(other):
        if "b" in other.logs.names() and other.versions("b"):
            other.set_alias("b:v0", "good")
        other.rename("a", "c")

    for store, error in moments(meanwhile, act):
        check_whole(store, *OURS)
        has_alias = (
            any("good" in v.aliases for v in store.versions("b")) if "b" in live(store) else False
        )
        assert has_alias == ("keeps copies" in str(error))
        said.add(has_alias)
    assert said == {True, False}


def test_versions_that_came_earlier_from_elsewhere_stay(log):
    store = kept.Store(MemoryBucket())
    log(store, "a")
    store.rename("a", "b")
    log(store, "a")
    store.rename("a", "c")  # v1; v0 is known there as deleted
    store.rename("c", "b")
    assert live(store) == {"a": [], "b": ["v0", "v1"], "c": []}
    assert store.verify().problems == []


def test_two_copies_of_an_event_differ(meanwhile):
    """Under one name a version is deleted that exists under the other; both are replayed."""

    def split():
        store = filled()
        store.rename("a", "c")
        store.rename("c", "a")
        store.log_artifact("c", content("late"))  # c knows v0 to v2 as moved
        return store

    def act(other):
        other.rename("c", "b")

    for store, error in moments(meanwhile, act, store=split):
        check_whole(store, *OURS, "late")
        if error is None:
            assert live(store)["b"][:3] == ["v0", "v1", "v2"]
        else:
            assert live(store)["a"] == ["v0", "v1", "v2"]


class Others:
    """Other processes, which act before some of the records that a renaming appends."""

    def __init__(self, seed, append):
        self.chance, self.bucket, self.append = random.Random(seed), MemoryBucket(), append
        self.logged, self.depth = {}, 0

    def log(self, name):
        text = f"content {len(self.logged)}"
        logged = kept.Store(self.bucket).log_artifact(name, content(text), capture=False)
        self.logged[logged.digest] = logged.reference

    def step(self, log, view, event):
        if self.depth < 3 and self.chance.random() < 0.25:
            before, self.depth = self.depth, self.depth + 1
            with contextlib.suppress(KeptError):
                self.act()
            self.depth = before
        return self.append(log, view, event)

    def act(self):
        store = kept.Store(self.bucket)
        one, other = self.chance.sample("abc", 2)
        match self.chance.choice(["log", "log", "mv", "mv", "mv", "gc", "alias", "tag"]):
            case "log":
                self.log(one)
            case "mv":
                store.rename(one, other)
            case "gc":
                self.depth = 3  # it holds a lock
                store.gc(grace=0)
            case "alias":
                store.set_alias(one, "q")
            case "tag":
                store.version(one).update(tags=["t"])


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 400), marks=INTEGRATION)])
def test_many_rename_and_log_at_once(monkeypatch, seeds):
    append = Log.append_after
    for seed in seeds:
        others = Others(seed, append)
        for _ in range(3):
            others.log("a")
        monkeypatch.setattr(Log, "append_after", lambda *args, others=others: others.step(*args))
        for _ in range(4):
            one, other = others.chance.sample("abc", 2)
            with contextlib.suppress(KeptError):
                kept.Store(others.bucket).rename(one, other)
        monkeypatch.setattr(Log, "append_after", append)
        store = kept.Store(others.bucket)
        found = {v.digest for name in store.logs.names() for v in store.versions(name)}
        assert [r for d, r in others.logged.items() if d not in found] == [], seed
        store.gc(grace=0)
        assert store.problems() == store.verify().problems == [], seed


MOVES = """
import sys, kept
store = kept.open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    store.rename("a", sys.argv[2])
except kept.KeptError:
    pass
"""


@pytest.mark.integration
@pytest.mark.parametrize("names", ["bb", "bc"])
def test_processes_rename_and_a_run_logs_to_the_new_name(tmp_path, names):
    for trial in range(4):
        place = tmp_path / str(trial)
        store = kept.open_store(place)
        for n in range(20):
            store.log_artifact("a", content(f"{n}"), capture=False)
        end = store.log("a").view().head
        movers = [start(MOVES, place, name) for name in names]
        for mover in movers:
            assert mover.line() == "ready\n"
        for mover in movers:
            mover.stdin.write("go\n")
            mover.stdin.flush()
        last = store.log("a").records.key(end + 1)
        for _ in range(10**4):
            if store.bucket.size(last) is not None:
                break
            time.sleep(0.001)
        fresh = kept.open_store(place)
        logged = fresh.log_artifact("b", content("precious"), capture=False)
        for mover in movers:
            finish(mover)
        fresh = kept.open_store(place)
        assert fresh.version(logged.reference).digest == logged.digest
        assert any(len(fresh.versions(n)) >= 20 for n in fresh.logs.names())
        assert fresh.verify().problems == []
