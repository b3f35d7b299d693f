"""What people say of a version: description, tags, metadata and notes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import InvalidInput, InvalidMetadata
from kept.store.store import Store
from kept.sync.mirror.replicate import Sync


@pytest.fixture
def version(store):
    file = kept.MemoryFile("m.bin", [b"x"])
    return store.log_artifact("m", file, metadata={"lr": 0.1, "data": "a"})


def test_all_at_once(store, version, monkeypatch):
    monkeypatch.setenv("KEPT_USER", "ada")
    found = version.update(
        description="A first try", tags=["b", "a"], metadata={"lr": 0.2, "who": {"x": [1]}},
        note="line\nline",
    )  # fmt: skip
    for seen in (found, store.version("m")):
        assert seen.description == "A first try"
        assert seen.tags == ("a", "b")
        assert seen.metadata == {"lr": 0.2, "data": "a", "who": {"x": [1]}}
        [note] = seen.notes
        assert (note.text, note.by) == ("line\nline", "ada")
    assert found.record.metadata == {"lr": 0.1, "data": "a"}, "what was committed stays"


def test_tags_and_notes_add_up(store, version):
    version.update(tags=["a", "b"], note="one").update(tags=["c"], remove_tags=["a", "none"])
    version.update(note="two")
    found = store.version("m")
    assert (found.tags, [note.text for note in found.notes]) == (("b", "c"), ["one", "two"])


def test_a_description_is_replaced_and_removed(store, version):
    version.update(description="one").update(description="two")
    assert store.version("m").description == "two"
    version.update(description="")
    assert store.version("m").description is None


def test_no_record_for_what_is_known_already(store, version):
    version.update(description="d", tags=["a"], metadata={"x": None})
    head = store.log("m").view().head
    again = store.version("m").update(
        description="d", tags=["a"], remove_tags=["b"], metadata={"lr": 0.1, "x": None}
    )
    assert (store.log("m").view().head, again.tags) == (head, ("a",))
    version.update(note="one")
    version.update(note="one")
    assert len(store.version("m").notes) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"tags": []}, {"tags": "abc"}, {"tags": [""]}, {"tags": ["a\nb"]}, {"tags": [1]},
        {"tags": ["a"], "remove_tags": ["a"]}, {"note": " "}, {"note": 1}, {"description": 1},
        {"metadata": {"x": object()}}, {"metadata": {1: 2}}, {"metadata": [1]},
        {"metadata": {"metrics": {"acc": 1}}}, {"metadata": {"value": 1}}, {"note": "\ud800"},
    ],
)  # fmt: skip
def test_bad_input(store, version, changes):
    with pytest.raises(InvalidInput):
        version.update(**changes)
    assert store.log("m").view().head == 1


def test_measured_values_have_their_own_call(version):
    with pytest.raises(InvalidMetadata, match="kept metric"):
        version.update(metadata={"metrics": {}})


def test_many_writers_lose_nothing(store, version):
    def one(n):
        Store(store.bucket).version("m").update(tags=[f"t{n}"], note=str(n))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(12)))
    found = store.version("m")
    assert len(found.tags) == len({note.text for note in found.notes}) == 12


def test_two_stores_that_changed_a_version_merge(store, version):
    other = Store(MemoryBucket())
    Sync(store, other, "m").run()
    version.update(tags=["here"], description="here", metadata={"a": 1, "both": 1})
    other.version("m").update(tags=["away"], description="away", metadata={"b": 2, "both": 2})
    Sync(store, other, "m").run()
    Sync(other, store, "m").run()
    for seen in (store.version("m"), other.version("m")):
        assert (seen.tags, seen.description) == (("away", "here"), "away"), "the later one counts"
        assert seen.metadata == {"lr": 0.1, "data": "a", "a": 1, "b": 2, "both": 2}
