"""Copying versions: no bytes within a store, and what is known of the original comes along."""

from __future__ import annotations

import math

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import (
    ArtifactNotFound,
    BeingCollected,
    Damaged,
    InvalidInput,
    InvalidName,
    VersionNotFound,
)
from kept.store.log.fence import encode_list
from kept.store.origin.links import link_to
from kept.store.origin.origin import Origin
from tests.helpers import tree


@pytest.fixture
def other():
    return kept.Store(MemoryBucket())


def described(log, store):
    log(store, metadata={"epoch": 3, "metrics": {"loss": 0.5}}, aliases=["prod"])
    version = store.version("m:v0")
    version.log_metrics({"acc": 0.5, "f1": math.nan}, dataset="test", evaluation="e")
    version.log_metrics({"acc": 0.75}, dataset="test", evaluation="e")
    version.log_metrics({"acc": 0.25})
    return version.update(description="good", tags=["a", "b"], metadata={"k": 1}, note="mine")


def test_within_a_store_no_byte_is_copied(store, log, tmp_path):
    original = described(log, store)
    blobs = set(store.bucket.keys("blobs/"))
    copy = store.copy("m:prod", "best")
    assert (copy.reference, copy.is_new, copy.bytes_new) == ("best:v0", True, 0)
    assert set(store.bucket.keys("blobs/")) == blobs
    assert (copy.digest, copy.type, copy.aliases) == (original.digest, "model", ("latest",))
    assert copy.metadata == original.metadata
    assert {k: v for k, v in copy.metrics.items() if v == v} == {
        "acc": 0.25,
        "acc@test": 0.75,
    }
    assert copy.record.changes.evaluated("e") == {"acc": 0.75, "f1": "nan"}
    assert (copy.tags, copy.description, copy.notes) == (("a", "b"), "good", ())
    [link] = copy.uses
    assert (str(link), link.digest) == ("m:v0", original.digest)
    assert copy.provenance == original.provenance
    assert tree(copy.download(tmp_path / "a")) == tree(original.download(tmp_path / "b"))
    assert store.verify().problems == []


def test_to_another_store_only_missing_bytes_move(store, other, log, tmp_path):
    original = described(log, store)
    moved = []
    copy = other.copy(original, "m", progress=lambda *at: moved.append(at))
    assert copy.bytes_new == original.size
    assert moved[-1][0] >= original.size
    [link] = copy.uses
    assert (link.store, link.store_id) == (store.location, store.logs.marker.id)
    assert (copy.tags, copy.metrics["acc"]) == (("a", "b"), 0.25)
    assert other.copy(original, "second").bytes_new == 0
    assert tree(copy.download(tmp_path / "a")) == tree(original.download(tmp_path / "b"))
    assert other.verify().problems == []


def test_the_same_again_makes_no_version(store, log):
    original = described(log, store)
    first = store.copy(original, "best")
    head = store.log("best").view().head
    again = store.copy(original, "best")
    assert (again, again.is_new, store.log("best").view().head) == (first, False, head)
    original.log_metrics({"late": 1})
    assert store.copy("m:v0", "best").metrics["late"] == 1
    assert len(store.versions("best")) == 1


def test_what_is_said_of_a_version_with_the_same_content_stays(store, log):
    own = log(store, "prod")
    theirs = store.log_artifact("other", kept.MemoryFile("f", [b"content 0" * 100]))
    assert theirs.digest == own.digest
    own.update(description="audited", metadata={"k": "prod"})
    own.log_metrics({"acc": 0.95})
    theirs.update(description="untested", metadata={"k": "other"}, tags=["draft"])
    theirs.log_metrics({"acc": 0.1, "f1": 0.2})
    copy = store.copy("other:v0", "prod")
    assert (copy.reference, copy.is_new) == ("prod:v0", False)
    found = store.version("prod:v0")
    assert (found.description, found.tags, found.metrics) == ("audited", (), {"acc": 0.95})
    assert found.record.described["k"] == "prod"


def test_an_interrupted_copy_is_described_by_the_next_call(store, log, monkeypatch):
    original = described(log, store)
    with monkeypatch.context() as patched:
        patched.setattr("kept.store.whole.copy._described", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.copy(original, "best")
    assert store.version("best").description is None
    store.version("best").log_metrics({"acc": 0.5}, dataset="test")
    copy = store.copy(original, "best")
    assert (copy.description, copy.tags, copy.metrics["acc@test"]) == ("good", ("a", "b"), 0.5)
    copy.update(description="mine")
    original.update(description="newer")
    assert store.copy("m:v0", "best").description == "mine"


@pytest.mark.parametrize("stated", [False, True])
def test_the_parent_of_a_copy_in_another_store_is_there(store, other, log, stated):
    first = log(store)
    note = {"reference": "m:v0", "digest": first.digest}
    options = {"capture": Origin(parent=link_to(first))} if stated else {}
    run = log(store, metadata={} if stated else {"parent": note}, **options)
    other.log_artifact("m", kept.MemoryFile("f", [b"of another run"]))
    copy = other.copy(run, "m")
    assert (copy.parent.reference, copy.parent.digest) == ("m:v0", first.digest)
    assert (copy.parent.store, copy.parent.store_id) == (store.location, store.logs.marker.id)
    assert all(node.reference != "m:v0" or node.store for node in copy.lineage().up)
    back = store.copy(copy, "back")
    assert (back.parent.reference, back.parent.store) == ("m:v0", None)
    assert store.copy(run, "here").parent.store is None


def test_a_wrong_type_is_refused_before_bytes_move(store, other, log):
    original = log(store)
    other.log_artifact("data", kept.MemoryFile("d", [b"x"]), type="dataset")
    before = set(other.bucket.keys("blobs/"))
    for _ in range(2):
        with pytest.raises(InvalidInput, match="keeps its type"):
            other.copy(original, "data")
        assert set(other.bucket.keys("blobs/")) == before
        other.remove_artifact("data")


def test_content_that_the_target_has_in_other_chunks(store, other, log):
    original = log(store)
    same = other.log_artifact("m", kept.MemoryFile("f", [b"content 0" * 100]))
    assert same.digest == original.digest
    copy = other.copy(original, "m")
    assert (copy.reference, copy.is_new, copy.bytes_new) == ("m:v0", False, 0)


def test_an_old_version_becomes_the_newest(store, log):
    first = log(store)
    log(store)
    copy = store.copy("m:v0", "m")
    assert (copy.reference, copy.digest, copy.is_new) == ("m:v2", first.digest, True)
    assert str(copy.uses[0]) == "m:v0"


def test_the_copy_lives_without_its_original(store, log, tmp_path):
    log(store)
    store.copy("m:v0", "best")
    store.remove_artifact("m")
    store.gc(grace=0)
    store.version("best").download(tmp_path / "a")
    assert store.verify().problems == []


def test_bad_input(store, other, log):
    log(store)
    store.log_artifact("data", kept.MemoryFile("d", [b"x"]), type="dataset")
    with pytest.raises(InvalidInput, match="keeps its type"):
        store.copy("m:v0", "data")
    with pytest.raises(InvalidName):
        store.copy("m:v0", "a/b")
    with pytest.raises(VersionNotFound, match="'v7'"):
        store.copy("m:v7", "b")
    with pytest.raises(ArtifactNotFound, match="'none'"):
        store.copy("none", "b")
    [blob] = {chunk.blob for file in store.version("m:v0").files for chunk in file.chunks}
    store.bucket.delete(f"blobs/{blob[:2]}/{blob}")
    with pytest.raises(Damaged):
        other.copy(store.version("m"), "m")
    assert [a.name for a in store.artifacts()] == ["data", "m"]
    assert other.artifacts() == []


def test_content_that_a_gc_is_about_to_delete(store, other, log):
    original = log(store)
    other.copy(original, "m")
    other.remove_artifact("m")
    key = next(iter(other.bucket.keys("blobs/")))
    other.bucket.put("gc/abc.json", [encode_list([key])])
    with pytest.raises(BeingCollected):
        other.copy(original, "n")
    other.bucket.delete("gc/abc.json")
    assert other.copy(original, "n").index == 0


def test_best_follows_the_rule_of_the_target(store, log):
    store.log_artifact("best", kept.MemoryFile("f", [b"1"]), metadata={"metrics": {"loss": 0.9}})
    store.artifact("best").set_best("loss", "min")
    described(log, store)
    assert "best" in store.copy("m:v0", "best").aliases
