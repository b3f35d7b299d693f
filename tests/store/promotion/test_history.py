"""The history of a store: who, when, what, and from where."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import kept
from kept.errors import ArtifactNotFound, DamageWarning
from kept.store.metadata import MeasuredMetadata
from kept.store.promotion.history import _Past

DIGEST = "d" * 64


@pytest.fixture(autouse=True)
def ann(monkeypatch):
    monkeypatch.setenv("KEPT_USER", "ann")


def put(store, content, name="m", **options):
    return store.log_artifact(name, kept.MemoryFile("f", [content]), capture=False, **options)


def texts(store, name="m"):
    return [change.text for change in store.history(name)]


def test_a_life_of_an_artifact(store):
    put(store, b"0", aliases=["epoch_0", "best"])
    put(store, b"10", aliases=["epoch_1", "best"])
    store.set_alias("m:v0", "staging")
    store.promote("m:v0", "prod", from_alias="staging", message="first one")
    store.promote("m:v1", "prod", condition="size > 1")
    store.rollback("m:prod", message="slow")
    store.set_alias("m:v1", "staging")
    store.remove_alias("m", "staging")
    store.delete("m:v1", force=True)
    store.undelete("m:v1")
    log = store.log("m")
    log.append({"event": "delete", "index": 1, "reason": "no rule keeps it", "by": "ann"})
    assert texts(store) == [
        "v1 deleted by a rule: no rule keeps it",
        "v1 undeleted",
        "v1 deleted",
        "staging removed from v1",
        "staging put on v1 (was v0)",
        "prod rolled back to v0 (was v1): slow",
        "prod promoted to v1 (was v0), if size > 1",
        "prod promoted to v0, from staging: first one",
        "staging put on v0",
        "v1 committed, 2 B, epoch_1, best (was v0)",
        "v0 committed, 1 B, epoch_0, best",
    ]
    changes = list(store.history("m"))
    assert {c.by for c in changes[:-2]} == {"ann"}
    assert {c.artifact for c in changes} == {"m"}
    assert [c.time for c in changes] == sorted((c.time for c in changes), reverse=True)
    assert all(c.time.tzinfo is not None for c in changes)
    [promoted] = [c for c in changes if "first one" in c.text]
    assert promoted.action == "promote"
    assert promoted.details == {
        "alias": "prod", "version": 0, "was": None, "from": "staging", "message": "first one",
    }  # fmt: skip


def test_every_kind_of_change(store):
    put(store, b"0")
    put(store, b"1")
    store.set_ttl("m:v0", "7d")
    expires = store.version("m:v0").record.expires
    store.set_ttl("m:v0", None)
    put(store, b"1", aliases=["x"])
    log = store.log("m")
    for event in (
        {"event": "metrics", "index": 1, "metrics": {"acc": 0.123456789, "n": "nan"},
         "dataset": "test", "evaluation": "e", "aliases": {"best": 1}},
        {"event": "update", "index": 1, "tags": {"good": True, "bad": False}, "note": "hm",
         "description": "a", "set": {"lr": 0.1}},
        {"event": "update", "index": 1, "description": None},
        {"event": "rule", "best": {"monitor": "acc", "mode": "max"}},
        {"event": "rule", "best": None, "aliases": {"best": 0}},
        {"event": "remove", "indexes": [0, 1]},
        {"event": "restore", "indexes": [0, 1]},
        {"event": "alias", "aliases": {}, "lost": [7]},
        {"event": "remove", "indexes": list(range(12)), "moved_to": "n"},
    ):  # fmt: skip
        log.append(event)
    found = [(change.action, change.text) for change in store.history("m")]
    assert found == [
        ("move", "moved to n: 12 versions, v0 to v11"),
        ("repair", "v7 in no record; a repair marked that"),
        ("restore", "artifact restored: v0, v1"),
        ("remove", "artifact removed: v0, v1"),
        ("rule", "best follows the runs, best put on v0 (was v1)"),
        ("rule", "best follows acc (max)"),
        ("description", "v1 no longer described"),
        ("tag", "v1 tags: -bad +good"),
        ("description", "v1 described: a"),
        ("note", "v1 note: hm"),
        ("metadata", "v1 metadata: lr=0.1"),
        ("metrics", "v1 acc=0.123457, n=nan on test by the evaluation e, best put on v1"),
        ("repeat", "v1 logged again, the same content, x"),
        ("ttl", "v0 no longer expires"),
        ("ttl", f"v0 expires {expires}"),
        ("version", "v1 committed, 1 B"),
        ("version", "v0 committed, 1 B"),
    ]


def test_fences_of_gcs_are_no_changes(store):
    put(store, b"0")
    put(store, b"1")
    store.delete("m:v0")
    store.gc(grace=0)
    assert any("gc" in event for event in store.log("m").view().backwards())
    assert texts(store) == ["v0 deleted", "v1 committed, 1 B", "v0 committed, 1 B"]


def test_who_committed_is_read_from_the_provenance(store):
    made = {"event": "version", "type": "model", "manifest": DIGEST, "digest": DIGEST, "size": 1}
    made |= {"aliases": [], "metadata": {}}
    provenance = {"user": "bob", "host": "lab"}
    for index, where in enumerate((provenance, 0, 0, None, {"user": ""})):
        store.create()
        store.log("m").append(made | {"index": index} | ({"provenance": where} if where is not None
                                                         else {}))  # fmt: skip
    assert [c.by for c in store.history("m")] == [None, None, "bob@lab", "bob@lab", "bob@lab"]


def test_of_a_store_it_is_one_history_by_time(store):
    put(store, b"0", "a")
    put(store, b"0", "b")
    store.protect("prod")
    store.promote("a:v0", "prod")
    put(store, b"1", "b")
    store.unprotect("prod")
    found = [(c.artifact, c.action) for c in store.history()]
    assert found == [
        (None, "unprotect"), ("b", "version"), ("a", "promote"), ("b", "version"), ("a", "version"),
    ]  # fmt: skip


def test_it_reads_only_as_far_as_needed(store, small_pages, monkeypatch):
    for n in range(40):
        put(store, b"%d" % n, aliases=["best"])
    fresh = kept.Store(store.bucket)
    read = []
    get = store.bucket.get

    def counting(key, *args):
        read.append(key)
        return get(key, *args)

    monkeypatch.setattr(store.bucket, "get", counting)
    newest = next(fresh.history("m"))
    assert newest.text == "v39 committed, 2 B, best (was v38)"
    assert sum("/log/" in key or "/state/" in key for key in read) < 10


def test_of_a_run_and_its_protected_alias(store):
    store.protect("prod")
    put(store, b"0", aliases=["prod", "epoch_0"], metadata=MeasuredMetadata({}))
    assert texts(store) == ["v0 committed, 1 B, epoch_0"]


def test_of_an_empty_store_or_no_artifact(store):
    assert list(store.history()) == []
    with pytest.raises(ArtifactNotFound):
        store.history("m")


def test_a_damaged_record_is_named_and_passed_over(store):
    put(store, b"0")
    store.set_alias("m:v0", "x")
    store.set_alias("m:v0", "y")
    log = store.log("m")
    store.bucket.put(log.records.key(2), [b"{}"])
    fresh = kept.Store(store.bucket)
    with pytest.warns(DamageWarning, match="m: "):
        assert [c.text for c in fresh.history("m")] == ["y put on v0", "v0 committed, 1 B"]


def test_as_json(store):
    put(store, b"0")
    [change] = store.history("m")
    shape = change.as_json()
    assert list(shape) == ["time", "by", "artifact", "action", "text", "details"]
    assert datetime.fromisoformat(shape["time"]).utcoffset() == UTC.utcoffset(None)
    assert shape["details"]["version"] == 0


def test_a_mirror_tells_the_same(store):
    from kept.bucket.memory import MemoryBucket
    from kept.sync.mirror.replicate import Sync

    put(store, b"0")
    put(store, b"1")
    store.promote("m:v0", "prod", message="good")
    store.promote("m:v1", "prod")
    store.rollback("m:prod")
    copy = kept.Store(MemoryBucket())
    Sync(store, copy, "m").run()
    assert [(c.time, c.by, c.text) for c in copy.history("m")] == [
        (c.time, c.by, c.text) for c in store.history("m")
    ]
    with pytest.raises(kept.errors.VersionNotFound):
        copy.rollback("m:prod")  # the copy knows that this was the first one


@pytest.mark.parametrize("lost", ["promotion", "move", "two"])
def test_a_damaged_record_leaves_nothing_to_guess(store, lost):
    for content in (b"0", b"1", b"2"):
        put(store, content)
    move = store.set_alias if lost == "move" else store.promote
    for index in (0, 1, 2):
        move(f"m:v{index}", "prod")
    store.set_alias("m:v2", "x")
    log = store.log("m")
    broken = {"promotion": [5], "move": [5], "two": [4, 5]}[lost]
    for number in broken:
        store.bucket.put(log.records.key(number), [b"{}"])
    fresh = kept.Store(store.bucket)
    with pytest.warns(DamageWarning, match="m: "):
        found = list(fresh.history("m"))
    verb = "put on" if lost == "move" else "promoted to"
    expected = [f"prod {verb} v2 (was v1)", f"prod {verb} v0"]
    assert [c.text for c in found if "prod" in c.text] == expected[: 1 if lost == "two" else 2]
    [x] = [c for c in found if c.text.startswith("x")]
    assert x.text == "x put on v2"
    assert ("was" in x.details) == (lost != "two")


def test_the_author_of_many_versions_costs_one_look_at_each(store, monkeypatch):
    for n in range(30):
        store.log_artifact("m", kept.MemoryFile("f", [b"%d" % n]))
    asked = []
    at = _Past.at
    monkeypatch.setattr(_Past, "at", lambda *args: asked.append(1) or at(*args))
    assert {change.by for change in kept.Store(store.bucket).history("m")} != {None}
    assert len(asked) < 100


def test_a_renamed_artifact_is_shown_once(store):
    put(store, b"0")
    put(store, b"1")
    store.rename("m", "n")
    found = [(c.artifact, c.action) for c in store.history()]
    assert found == [("n", "move"), ("n", "version"), ("n", "version")]
    assert texts(store, "n")[0] == "moved from m"
    assert texts(store, "m")[0] == "moved to n: v0, v1"
    put(store, b"2", name="m")
    assert [c.artifact for c in store.history() if c.action == "version"] == ["m", "n", "n"]
    assert len(list(store.history("m"))) == 4


def test_an_artifact_that_was_renamed_back_is_shown_once(store):
    put(store, b"0")
    for old, new in [("m", "n"), ("n", "o"), ("o", "m")]:
        store.rename(old, new)
    found = [(c.artifact, c.action) for c in store.history()]
    assert [f for f in found if f[1] == "version"] == [("m", "version")]
    assert texts(store)[:2] == ["moved from o", "moved to n: v0"]


def test_a_new_version_that_is_undeleted_brings_no_renamed_history_back(store, file):
    for n in range(2):
        store.log_artifact("a", file(b"%d" % n))
    store.rename("a", "b")
    for n in range(2, 4):
        store.log_artifact("a", file(b"%d" % n))
    store.delete("a:v2")
    store.undelete("a:v2")
    committed = [
        (c.artifact, c.details["version"]) for c in store.history() if c.action == "version"
    ]
    assert sorted(committed) == [("a", 2), ("a", 3), ("b", 0), ("b", 1)]
