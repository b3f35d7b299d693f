"""What is known of a log and brought up to date is what its whole history says."""

from __future__ import annotations

import random

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged
from kept.store.log import pages
from kept.store.log.history import live
from kept.store.rank.live import LiveVersions

ALIASES = ["a", "b", "best", "epoch_1", "zz"]


def event_of(draw, count):
    """A random event; count versions exist. Some name versions that are deleted, or come later."""
    kind = draw.choice(
        ["version"] * 4
        + ["alias"] * 3
        + ["delete", "delete", "undelete", "expires"]
        + ["metrics", "update", "remove", "restore", "rule"]
    )
    index = draw.randrange(count + 2)
    if kind == "version":
        aliases = draw.sample(ALIASES, draw.randrange(3))
        made = {"type": "model", "manifest": "0" * 64, "digest": "0" * 64, "size": 1}
        made |= {"aliases": aliases, "metadata": {"n": count}, "event": kind, "index": count}
        return made | draw.choice([{}] * 9 + [{"deleted": True}, {"expires": None}])
    if kind == "alias":
        moved = {a: draw.choice([None, index]) for a in draw.sample(ALIASES, draw.randrange(3))}
        return {"event": "alias", "aliases": moved} | draw.choice([{}, {"gc": "x"}])
    if kind == "expires":
        moment = draw.choice([None, "2030-01-01T00:00:00+00:00"])
        return {"event": "alias", "aliases": {}, "index": index, "expires": moment}
    moved = {"aliases": dict.fromkeys(draw.sample(ALIASES, draw.randrange(2)), index)}
    match kind:
        case "metrics":
            return {"event": kind, "index": index, "metrics": {"a": draw.random()}} | moved
        case "update":
            return {"event": kind, "index": index, "tags": {draw.choice("tu"): draw.random() < 0.5}}
        case "rule":
            return {"event": kind, "best": None} | moved
        case "remove" | "restore":
            return {"event": kind, "indexes": draw.sample(range(count + 2), 2)}
    return {"event": kind, "index": index}


@pytest.mark.parametrize("seed", range(30))
def test_after_any_events(seed, monkeypatch):
    monkeypatch.setattr(pages, "PAGE", 4)
    monkeypatch.setattr(pages, "BIG_PAGE", 16)
    draw = random.Random(seed)
    store = kept.Store(MemoryBucket())
    store.create()
    log = store.log("m")
    known, count = LiveVersions(), 0
    for _ in range(60):
        for _ in range(draw.randrange(4)):
            event = event_of(draw, count)
            count += event["event"] == "version"
            log.append(event)
        view = log.view()
        expected = list(live(view.items()))[::-1]
        one = {index: LiveVersions().one(view, index) for index in range(count + 1)}
        assert [record for record in one.values() if record] == expected
        assert known.at(view) == expected
        assert {index: known.one(view, index) for index in one} == one


def test_an_older_view_and_a_fault(store, file):
    log = store.log("m")
    for n in range(3):
        store.log_artifact("m", file(b"%d" % n))
    before, known = log.view(), LiveVersions()
    store.delete("m:v0")
    assert [record.index for record in known.at(log.view())] == [1, 2]
    assert [record.index for record in known.at(before)] == [0, 1, 2]
    assert (known.one(before, 0).index, known.one(log.view(), 0)) == (0, None)
    store.bucket.put(log.records.key(5), [b"damaged"])
    with pytest.raises(Damaged):
        known.at(log.view())
    assert known.one(log.view(), 1).index == 1


def test_an_early_look_reads_as_far_as_it_needs(store, file, read_items):
    for n in range(50):
        store.log_artifact("m", file(b"%d" % n))
    view, known = store.log("m").view(), LiveVersions()
    read_items.clear()
    assert known.one(view, 48).index == 48
    assert len(read_items) == 2
    for index in range(50):
        assert known.one(view, index).index == index
    assert len(read_items) < 3 * 50
