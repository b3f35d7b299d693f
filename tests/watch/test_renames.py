"""An artifact keeps its events once, whatever it is called and however often it is renamed."""

from __future__ import annotations

import random
import threading

import pytest

import kept
from kept.cli.sync_copy import copy_artifact, copy_artifacts
from kept.store.format_marker import known_id
from kept.store.receipts import Receipts
from kept.watch import renames
from kept.watch.cursor import Cursor, held, store_id
from kept.watch.events import Wanted
from kept.watch.feed import Feed
from kept.watch.target import Outcome, Result, Stop
from kept.watch.watcher import Watcher

FAILED = Outcome(Result.FAILED, "no answer")


@pytest.fixture
def sent(noted):
    """Return the commits and mirrored versions that were sent; each has an id of its own."""

    def references():
        plain = [happening.id for happening, again in noted.got if not again]
        assert len(plain) == len(set(plain))
        return [happening.reference for happening, _ in noted.got]

    return references


def test_renamed_twice(store, put, noted, look, sent):
    put(store, "a")
    look(store, noted, kinds=["commit"])
    for old, new in (("a", "b"), ("b", "c")):
        store.rename(old, new)
        look(store, noted, kinds=["commit"])
        put(store, new)
        look(store, noted, kinds=["commit"])
    put(store, "c")
    look(store, noted, kinds=["commit"])
    assert sent() == ["b:v1", "c:v2", "c:v3"]


@pytest.mark.parametrize("names", ["abc", "cba", "bca", "acb"])
def test_renamed_twice_while_the_watcher_was_away(store, put, noted, look, sent, names):
    first, second, third = names
    put(store, first)
    look(store, noted, kinds=["commit"])
    put(store, first)
    store.rename(first, second)
    put(store, second)
    store.rename(second, third)
    put(store, third)
    look(store, noted, kinds=["commit"])
    assert sent() == [f"{first}:v1", f"{second}:v2", f"{third}:v3"]
    assert look(store, noted, kinds=["commit"]).sent == 0


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_an_event_that_is_left_is_sent_once_after_a_rename(store, put, noted, look, sent, names):
    old, new = names
    put(store, old)
    look(store, noted, kinds=["commit"])
    put(store, old)
    store.rename(old, new)
    put(store, new)
    noted.outcomes = [FAILED]
    counts = look(store, noted, kinds=["commit"])
    assert (counts.sent, counts.is_complete) == (0, False)
    look(store, noted, kinds=["commit"])
    assert sent() == [f"{old}:v1", f"{old}:v1", f"{new}:v2"]
    assert [again for _, again in noted.got] == [False, True, False]


@pytest.mark.parametrize("names", ["ab", "ba"])
@pytest.mark.parametrize("looks", [0, 1, 2, 3])
def test_a_rename_that_is_undone(store, put, noted, look, sent, names, looks):
    old, new = names
    put(store, old)
    look(store, noted, kinds=["commit"])
    steps = [
        lambda: store.rename(old, new),
        lambda: put(store, new),
        lambda: store.rename(new, old),
        lambda: put(store, old),
    ]
    for number, step in enumerate(steps):
        step()
        if number < looks:
            look(store, noted, kinds=["commit"])
    for _ in range(2):
        look(store, noted, kinds=["commit"])
    assert sent() == [f"{new}:v1", f"{old}:v2"]
    store.rename(old, new)
    put(store, new)
    look(store, noted, kinds=["commit"])
    assert sent()[2:] == [f"{new}:v3"]


def test_a_rename_that_is_undone_before_the_watcher_begins(store, put, noted, look, sent):
    put(store, "a")
    store.rename("a", "b")
    put(store, "b")
    look(store, noted, kinds=["commit"])
    store.rename("b", "a")
    put(store, "a")
    look(store, noted, kinds=["commit"])
    assert sent() == ["a:v2"]


def test_a_copy_under_a_second_name_is_an_artifact_of_its_own(
    store, put, noted, look, sent, tmp_path
):
    other = kept.open_store(tmp_path / "other")
    put(other)
    copy_artifacts(other, store.location, None)
    look(store, noted, kinds=["commit"])
    put(store)
    copy_artifact(other, store, "m", "m-2")
    look(store, noted, kinds=["commit"])
    put(store, "m-2")
    put(store, "m")
    look(store, noted, kinds=["commit"])
    assert sorted(sent()) == ["m-2:v0", "m-2:v1", "m:v1", "m:v2"]


def test_an_old_name_that_is_used_again(store, put, noted, look, sent):
    put(store, "a")
    look(store, noted, kinds=["commit"])
    store.rename("a", "b")
    look(store, noted, kinds=["commit"])
    put(store, "a")
    put(store, "b")
    put(store, "a")
    look(store, noted, kinds=["commit"])
    assert sorted(sent()) == ["a:v1", "a:v2", "b:v1"]


def test_a_rename_into_a_pattern_brings_its_history(store, put, noted, look, sent):
    put(store, "x")
    look(store, noted, kinds=["commit"], names="run_*")
    put(store, "x")
    store.rename("x", "run_1")
    look(store, noted, kinds=["commit"], names="run_*")
    assert sent() == ["run_1:v0", "run_1:v1"]


def test_versions_in_a_mirror_are_not_sent_again(store, put, noted, look, sent, tmp_path):
    mirror = kept.open_store(tmp_path / "mirror")
    Receipts(store.bucket, mirror.location, known_id(store.logs.marker)).register("a")
    for _ in range(2):
        put(store, "a")
    copy_artifacts(store, mirror.location, None)
    look(store, noted, kinds=["mirrored"], from_start=True)
    put(store, "a")
    store.rename("a", "b")
    put(store, "b")
    copy_artifacts(store, mirror.location, None)
    look(store, noted, kinds=["mirrored"])
    assert sent() == ["a:v0", "a:v1", "b:v2", "b:v3"]


def test_a_rename_that_was_killed_is_an_artifact_in_the_end(
    store, put, noted, look, sent, monkeypatch
):
    put(store)
    look(store, noted, kinds=["commit"])
    [first] = store.log("m").view().backwards()
    again = {k: v for k, v in first.items() if k not in ("number", "previous", "artifact")}
    store.log("n").append(again)
    monkeypatch.setattr(renames, "STEADY", 0.01)
    look(store, noted, kinds=["commit"])
    assert sent() == ["n:v0"]
    store.rename("m", "n")
    put(store, "n")
    look(store, noted, kinds=["commit"])
    assert sent() == ["n:v0", "n:v1"]


def test_a_renamed_artifact_is_not_sent_again(store, put, noted, look):
    for _ in range(2):
        put(store)
    look(store, noted, from_start=True)
    put(store)
    store.rename("m", "n")
    put(store, "n")
    look(store, noted)
    commits = [h.reference for h, _ in noted.got if h.kind == "commit"]
    assert commits == ["m:v0", "m:v1", "m:v2", "n:v3"]
    assert [h.kind for h, _ in noted.got if h.kind != "commit"] == []


def test_a_rename_in_progress_is_waited_for(store, put, noted, look, monkeypatch, tmp_path):
    put(store)
    look(store, noted, from_start=True)
    [first] = store.log("m").view().backwards()
    again = {k: v for k, v in first.items() if k not in ("number", "previous", "artifact")}
    store.log("n").append(again)
    monkeypatch.setattr(renames, "STEADY", 600.0)
    with held(store, "*", str(tmp_path / "cursor.json")) as cursor:
        wanted = Wanted(frozenset({"commit"}))
        following = Watcher(Feed(store, wanted), cursor, noted, Stop())
        following.look()
        assert not following.counts.is_complete
        assert following._feed.renames.growing
    assert len(noted.got) == 1
    store.rename("m", "n")
    put(store, "n")
    look(store, noted)
    assert [h.reference for h, _ in noted.got] == ["m:v0", "n:v1"]


def _at_random(store, put, noted, look, seed):
    """Log versions and rename an artifact at random; each version is sent once without a mark."""
    chance = random.Random(seed)
    name, expected = "a", []
    put(store, "a")
    look(store, noted, kinds=["commit"])
    for _ in range(25):
        match chance.randrange(3):
            case 0:
                new = chance.choice([other for other in "abcd" if other != name])
                store.rename(name, new)
                name = new
            case 1:
                expected.append(put(store, name).index)
            case 2:
                noted.outcomes = [FAILED] * chance.randrange(3)
                look(store, noted, kinds=["commit"])
    noted.outcomes = []
    for _ in range(2):
        last = look(store, noted, kinds=["commit"])
    assert last.is_complete
    assert last.sent == 0
    plain = [h.version.index for h, again in noted.got if not again]
    assert plain == expected


@pytest.mark.parametrize("seed", range(6))
def test_renames_at_random(store, put, noted, look, seed):
    _at_random(store, put, noted, look, seed)


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(100, 300))
def test_renames_at_random_many_times(store, put, noted, look, seed):
    _at_random(store, put, noted, look, seed)


def test_a_rename_beside_the_watcher(store, put, noted, monkeypatch):
    monkeypatch.setattr(renames, "STEADY", 600.0)
    for _ in range(20):
        put(store, "b")
    reader = kept.open_store(store.location)
    wanted = Wanted(frozenset({"commit"}))
    following = Watcher(Feed(reader, wanted), Cursor(store_id(reader), "*"), noted, Stop())
    following.begin(from_start=False)
    for old, new in (("b", "a"), ("a", "c"), ("c", "a")):
        renaming = threading.Thread(target=store.rename, args=(old, new))
        renaming.start()
        while renaming.is_alive():
            following.look()
        put(store, new)
        following.look()
    assert [h.reference for h, _ in noted.got] == ["a:v20", "c:v21", "a:v22"]
