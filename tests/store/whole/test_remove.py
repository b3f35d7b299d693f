"""Removing and restoring whole artifacts."""

from __future__ import annotations

import threading

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import (
    AliasProtected,
    ArtifactNotFound,
    Damaged,
    InvalidInput,
    InvalidName,
    VersionGone,
    VersionInUse,
    VersionNotFound,
)
from kept.store.whole import remove as removal
from kept.sync.mirror.replicate import Sync
from tests.helpers import Wrapped


def events(store, name="m"):
    return [event["event"] for event in store.log(name).view().backwards()][::-1]


def filled(log, store, names=("run_1", "run_2", "model")):
    for name in names:
        for epoch in range(2):
            log(store, name, aliases=[f"epoch_{epoch}", "best"])
    return store


def test_one_record_removes_all_versions_and_one_brings_them_back(store, log):
    for n in range(3):
        log(store, aliases=["best", f"epoch_{n}"])
    store.delete("m:v1", force=True)
    before = [(v.reference, v.aliases) for v in store.versions("m")]
    removed = store.remove_artifact("m")
    assert (removed.name, removed.versions, removed.stays) == ("m", 2, None)
    assert events(store) == ["version"] * 3 + ["delete", "remove"]
    assert (store.versions("m"), store.artifacts()) == ([], [])
    with pytest.raises(VersionNotFound, match=r"all 3 were deleted.*kept undelete --artifact m"):
        store.version("m")
    assert store.remove_artifact("m").stays == "removed already"
    restored = store.restore_artifact("m")
    assert (restored.versions, restored.gone) == ((0, 2), ())  # v1 was deleted by itself
    assert [(v.reference, v.aliases) for v in store.versions("m")] == before
    assert events(store)[-2:] == ["remove", "restore"]
    assert store.restore_artifact("m").versions == ()
    assert store.verify().problems == []


def test_the_next_version_of_a_removed_artifact_has_the_next_number(store, log):
    log(store)
    store.remove_artifact("m")
    assert log(store).reference == "m:v1"
    assert store.restore_artifact("m").versions == (0,)
    assert [v.index for v in store.versions("m")] == [0, 1]


def test_an_alias_of_a_person_is_in_the_way(store, log):
    filled(log, store)
    store.set_alias("model:v0", "prod")
    with pytest.raises(VersionInUse, match=r"model \(alias prod\).*--force.*--keep-aliased"):
        store.remove_artifacts("*")
    assert len(store.artifacts()) == 3, "nothing is removed before all is checked"
    done = store.remove_artifacts("*", keep_aliased=True)
    assert {each.name: each.stays for each in done} == {
        "model": "alias prod",
        "run_1": None,
        "run_2": None,
    }
    assert [a.name for a in store.artifacts()] == ["model"]
    assert store.remove_artifact("model", force=True).aliases == ("prod",)
    store.restore_artifact("model")
    assert store.version("model:prod").index == 0


def test_a_protected_alias_is_in_the_way_even_with_force(store, log):
    filled(log, store)
    store.promote("model:v0", "prod")
    store.protect("prod")
    with pytest.raises(AliasProtected, match=r"model.*prod is protected"):
        store.remove_artifact("model", force=True)
    done = store.remove_artifacts("*", force=True)
    assert {each.name for each in done if each.stays is None} == {"run_1", "run_2"}
    assert [v.index for v in store.versions("model")] == [0, 1]


def test_protected_after_the_plan(store, log, monkeypatch):
    filled(log, store, ["model"])
    store.set_alias("model:v0", "prod")
    monkeypatch.setattr(removal, "check", lambda _: store.protect("prod"))
    [done] = store.remove_artifacts("model", force=True)
    assert (done.error, done.stays) == (AliasProtected, "the alias prod is protected")
    assert len(store.versions("model")) == 2


@pytest.mark.parametrize("change", ["version", "alias"])
def test_what_comes_after_the_plan_counts(store, log, monkeypatch, change):
    filled(log, store, ["run_1"])

    def changed(_):
        if change == "version":
            log(store, "run_1")
        else:
            store.set_alias("run_1:v0", "mine")

    monkeypatch.setattr(removal, "check", changed)
    [done] = store.remove_artifacts("run_*")
    if change == "version":
        assert (done.versions, done.stays) == (3, None)
    else:
        assert (done.stays, len(store.versions("run_1"))) == ("alias mine", 2)


def test_older_than_looks_at_the_newest_version(store, log):
    filled(log, store, ["run_1"])
    [done] = store.remove_artifacts("run_1", older_than="1h")
    assert done.stays.startswith("its newest version is of 20")
    [done] = store.remove_artifacts("run_1", older_than=0)
    assert done.stays is None


def test_a_dry_run_changes_nothing(store, log):
    filled(log, store)
    store.set_alias("model:v0", "prod")
    keys = {key: bytes(store.bucket.get(key)) for key in store.bucket.keys("")}
    done = store.remove_artifacts("*", dry_run=True)
    assert [(each.name, each.versions, each.stays) for each in done] == [
        ("model", 2, "alias prod"),
        ("run_1", 2, None),
        ("run_2", 2, None),
    ]
    assert {key: bytes(store.bucket.get(key)) for key in store.bucket.keys("")} == keys


def test_bad_names(store, log):
    filled(log, store)
    with pytest.raises(ArtifactNotFound, match=r"matches x\*.*model, run_1, run_2"):
        store.remove_artifacts("x*")
    with pytest.raises(ArtifactNotFound, match="'none'"):
        store.remove_artifacts(["run_1", "none"])
    with pytest.raises(InvalidName, match="Received: 'm:v1'"):
        store.remove_artifact("m:v1")
    with pytest.raises(InvalidName):
        store.remove_artifact("run_*")
    with pytest.raises(InvalidInput, match="older_than"):
        store.remove_artifacts("run_*", older_than="soon")
    with pytest.raises(ArtifactNotFound, match=r"matches x\*"):
        store.restore_artifacts("x*")
    assert len(store.artifacts()) == 3


def test_an_interrupted_removal_continues(log):
    class Stops(Wrapped):
        left = 10**6

        def put_if_absent(self, key, parts):
            if "/log/" in key and self.left == 0:
                raise OSError("the disk is gone")
            self.left -= "/log/" in key
            self.inner.put_if_absent(key, parts)

    bucket = Stops(MemoryBucket())
    store = filled(log, kept.Store(bucket), [f"run_{n:02}" for n in range(30)])
    bucket.left = 7
    with pytest.raises(OSError, match="the disk is gone"):
        store.remove_artifacts("run_*")
    left = len(kept.Store(bucket).artifacts())
    assert left == 23
    bucket.left = 10**6
    steps = []
    again = kept.Store(bucket).remove_artifacts("run_*", progress=lambda *at: steps.append(at))
    assert sum(each.stays is None for each in again) == left
    assert steps == [(n + 1, left) for n in range(left)]
    assert kept.Store(bucket).artifacts() == []
    assert len(store.restore_artifacts("run_*")) == 30
    assert all(len(store.versions(f"run_{n:02}")) == 2 for n in range(30))


def test_a_damaged_log_stops_no_other_removal(store, log):
    filled(log, store)
    key = store.log("run_1").records.key(2)
    store.bucket.put(key, [b"{}"])
    with pytest.warns(kept.errors.DamageWarning):
        done = kept.Store(store.bucket).remove_artifacts("run_*")
    assert [(each.name, each.error) for each in done] == [("run_1", Damaged), ("run_2", None)]
    assert kept.Store(store.bucket).versions("run_2") == []


def test_an_artifact_that_cannot_be_read(store, log):
    filled(log, store)
    for number in (1, 2):
        store.bucket.put(store.log("run_1").records.key(number), [b"{}"])
    fresh = kept.Store(store.bucket)
    with pytest.warns(kept.errors.DamageWarning):
        done = fresh.remove_artifacts("run_*")
    assert [(each.name, each.stays) for each in done] == [
        ("run_1", "no version can be read: run kept repair"),
        ("run_2", None),
    ]
    with pytest.warns(kept.errors.DamageWarning), pytest.raises(Damaged, match="run kept repair"):
        fresh.remove_artifact("run_1")


def test_two_at_once_remove_an_artifact_once(store, log):
    names = [f"run_{n}" for n in range(20)]
    filled(log, store, names)
    found = []

    def work():
        found.append(kept.Store(store.bucket).remove_artifacts("run_*"))

    threads = [threading.Thread(target=work) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [events(store, name).count("remove") for name in names] == [1] * 20
    removed = [each.name for done in found for each in done if each.stays is None]
    assert sorted(removed) == sorted(names)


def test_gc_frees_a_removed_artifact_only_after_its_grace(store, log):
    filled(log, store)
    store.copy("run_1:v0", "kept")
    store.remove_artifacts("run_*")
    assert store.gc().waiting == 4
    store.restore_artifact("run_2")
    store.gc(grace=0)
    restored = store.restore_artifact("run_1")
    assert (restored.versions, restored.gone) == ((0,), (1,))
    assert [v.index for v in store.versions("run_1")] == [0]
    store.remove_artifact("run_2")
    store.gc(grace=0)
    with pytest.raises(VersionGone, match=r"run_2 was removed on 20.*all its 2 versions"):
        store.restore_artifact("run_2")
    [found] = store.restore_artifacts("run_2*")
    assert (found.versions, found.gone) == ((), (0, 1))
    assert store.verify().problems == []


def test_retention_and_repair_of_a_removed_artifact(store, log):
    filled(log, store, ["m"])
    store.remove_artifact("m")
    assert store.prune("m", kept.Keep(last=1)) == []
    store.restore_artifact("m")
    log(store)
    # A restored version has no privilege, unlike one that a person undeletes; v1 is the best.
    assert [d.keep for d in store.prune("m", kept.Keep(last=1))] == [False, True, True]
    assert store.repair().steps == []
    store.bucket.delete(store.log("m").records.key(3))  # the removal
    fresh = kept.Store(store.bucket)
    assert any("missing" in problem.message for problem in fresh.problems())
    fresh.repair()
    assert fresh.problems() == []
    assert [v.index for v in fresh.versions("m")] == [1, 2]


def test_mirrors_carry_it(store, log):
    filled(log, store)
    mirror = kept.Store(MemoryBucket())
    for name in ("run_1", "model"):
        Sync(store, mirror, name).run()
    store.remove_artifact("run_1")
    Sync(store, mirror, "run_1").run()
    assert [a.name for a in mirror.artifacts()] == ["model"]
    store.restore_artifact("run_1")
    Sync(store, mirror, "run_1").run()
    assert [v.aliases for v in mirror.versions("run_1")] == [
        v.aliases for v in store.versions("run_1")
    ]


def test_it_may_use_the_reserve_of_a_full_disk(tmp_path, log):
    spent = []

    class Watched(Wrapped):
        def spending_reserve(self):
            spent.append(True)
            return self.inner.spending_reserve()

    store = kept.Store(Watched(MemoryBucket()))
    filled(log, store, ["m"])
    spent.clear()
    store.remove_artifact("m")
    assert spent == [True]
