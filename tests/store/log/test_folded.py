"""Folded pages: a log with thousands of fences costs no more to read than one without."""

from __future__ import annotations

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import ArtifactNotFound
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


def cut_by_an_earlier_kept(store, fork):
    """Cut a log back as a kept does that knows no folded pages."""
    log = store.log("m")
    keys = [log.pages.key(number) for number in log.pages.numbers() if number > fork]
    keys += [log.records.key(number) for number in reversed(log.records.numbers(fork))]
    for key in keys:
        store.bucket.delete(key)


def versions_by_an_earlier_kept(store, length):
    """Commit versions until the log has this many records; return the number of versions."""
    log = Logs(store.bucket).of("m")
    [first] = facts(log.logs)
    committed = {k: first[k] for k in ("event", "type", "manifest", "digest", "size", "metadata")}
    for index in range(1, length):
        log.append(committed | {"index": index, "aliases": []})
    return length


@pytest.mark.parametrize("length", [100, 128, 130, 192])
def test_one_of_a_history_that_was_cut_is_ignored(length, monkeypatch):
    store = fenced(129)
    [key] = folded(store)
    assert "128-" in key
    cut_by_an_earlier_kept(store, 1)
    with monkeypatch.context() as patch:
        patch.setattr(FoldedPages, "write", lambda *_: None)
        count = versions_by_an_earlier_kept(store, length)
    assert folded(store) == [key]
    again = kept.Store(store.bucket)
    assert again.version("m").index == count - 1
    assert len(again.versions("m")) == count
    assert facts(Logs(store.bucket)) == list(again.log("m").view().items())
    assert again.problems() == []
    assert again.log_artifact("m", content("new")).index == count
    again.repair()
    assert folded(store) == []
    assert again.verify().ok


def test_one_before_a_record_without_a_link_is_checked():
    store = fenced(129)
    cut_by_an_earlier_kept(store, 1)
    count = versions_by_an_earlier_kept(store, 128)
    last = dict(store.log("m").records.read(128))
    del last["previous"]
    store.log("m").records.create(last | {"number": 129, "index": count, "write_id": "0" * 32})
    assert kept.Store(store.bucket)["m:v3"].index == 3
    assert len(kept.Store(store.bucket).versions("m")) == count + 1


@pytest.mark.parametrize("is_cut", [False, True])
def test_one_whose_last_record_is_lost_is_compared_with_the_page(is_cut):
    store = fenced(123)
    for _ in range(2):
        store.log("m").append(FENCE)
    if is_cut:
        cut_by_an_earlier_kept(store, 1)
        versions_by_an_earlier_kept(store, 128)
    store.bucket.delete(store.log("m").records.key(128))
    reads = Reads(store.bucket)
    found = Logs(reads).of("m").view().facts()
    assert sum("gc" not in event for event in found) == (128 if is_cut else 3)
    assert is_cut or reads.count <= 4


def test_compact_writes_nothing_for_a_short_log_and_nothing_of_an_unknown_one():
    store = kept.Store(MemoryBucket())
    store.log_artifact("m", content("0"))
    store.compact()
    assert folded(store) == []
    keys = list(store.bucket.keys(""))
    with pytest.raises(ArtifactNotFound):
        store.compact("typo")
    assert list(store.bucket.keys("")) == keys
    empty = MemoryBucket()
    with pytest.raises(ArtifactNotFound):
        kept.Store(empty).compact("typo")
    assert list(empty.keys("")) == []


def test_threads_may_forget_pages_while_one_is_written():
    store = fenced(90)
    log = Logs(store.bucket).of("m")
    events = list(log.view().backwards())
    known = log.pages.folded._known

    class Number(int):
        """A thread removes another number while this one is compared."""

        def __ge__(self, other):
            known.pop(3, None)
            return int(self) >= other

    known.update(dict.fromkeys((Number(2), 3, 4)))
    log.pages.folded.write(64, events)
    assert list(known) == [64]
