"""Folded pages: a log with thousands of fences costs no more to read than one without."""

from __future__ import annotations

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.store.encoding import seal
from kept.store.log.folded import FoldedPages
from kept.store.log.log import Logs
from kept.sync.mirror.resolve import _cut
from tests.helpers import Wrapped

FENCE = {"event": "alias", "aliases": {}, "gc": "some-list"}


class Reads(Wrapped):
    """Counts the values that are read."""

    def __init__(self, inner):
        super().__init__(inner)
        self.count = 0

    def get(self, key, *args):
        self.count += 1
        return self.inner.get(key, *args)


def content(text):
    return kept.MemoryFile("f", [text.encode()])


def fenced(count, versions=3):
    """A store with an artifact of some versions, and fences after each one."""
    store = kept.Store(MemoryBucket())
    for n in range(versions):
        store.log_artifact("m", content(f"{n}"), aliases=[f"epoch_{n}"])
        for _ in range(count // versions):
            store.log("m").append(FENCE)
    return store


def facts(logs):
    return [event for event in logs.of("m").view().facts() if "gc" not in event]


def folded(store):
    return [key for key in store.bucket.keys("artifacts/m/state/") if "folded" in key]


@pytest.mark.parametrize("count", [90, 480, 1500])
def test_a_reader_reads_one_page_instead_of_all_fences(count):
    store = fenced(count)
    assert len(folded(store)) == 1
    reads = Reads(store.bucket)
    found = facts(Logs(reads))
    assert reads.count <= 1 + (count + 3) % 64  # the page, and the records after it
    assert found == [e for e in store.log("m").view().items() if "gc" not in e]
    assert len(list(Logs(store.bucket).of("m").view().items())) == count + 3
    assert store.verify().ok
    assert [v.aliases for v in kept.Store(store.bucket).versions("m")][-1] == ("latest", "epoch_2")


def test_a_log_with_few_fences_gets_none():
    store = kept.Store(MemoryBucket())
    version = store.log_artifact("m", content("0"))
    for n in range(300):
        store.log("m").append(
            FENCE if n % 3 == 0 else {"event": "alias", "aliases": {f"a{n}": version.index}}
        )
    assert folded(store) == []


def test_compact_folds_the_logs_of_an_earlier_kept(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(FoldedPages, "write", lambda *_: None)
        store = fenced(600)
    assert folded(store) == []
    store.compact()
    assert len(folded(store)) == 1
    reads = Reads(store.bucket)
    assert len(facts(Logs(reads))) == 3
    assert reads.count <= 1 + 603 % 64
    assert store.verify().ok


def test_a_writer_sees_fences_that_another_has_folded_away():
    store = fenced(30)
    log = Logs(store.bucket).of("m")
    before = log.view()
    for _ in range(200):
        store.log("m").append(FENCE)
    seen = [e["number"] for e in log.view().backwards() if e["number"] > before.head]
    assert len(seen) == 200


@pytest.mark.parametrize("data", [b"?", seal({"events": []}), seal({"events": [3]}), None])
def test_one_that_is_damaged_is_not_believed_and_repaired(data):
    store = fenced(90)
    [key] = folded(store)
    if data is None:  # of another place
        data = store.bucket.get(key)
        store.bucket.delete(key)
        key = key.replace("64-", "65-")
    store.bucket.put(key, [data])
    again = kept.Store(store.bucket)
    assert len(again.versions("m")) == 3
    assert [problem.key for problem in again.verify().problems] == [key]
    again.repair()
    assert folded(again) == []
    assert again.verify().ok


def test_a_cut_log_loses_those_beyond_the_cut():
    store = fenced(90)
    events = list(store.log("m").view().backwards())[::-1]
    _cut(store, "m", 31, events)
    assert folded(store) == []
    assert len(kept.Store(store.bucket).versions("m")) == 1
