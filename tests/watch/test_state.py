"""The state at each record is what the log's own fold says of the records up to it."""

from __future__ import annotations

import random

import pytest

from kept.store.log.events import Fault
from kept.store.log.history import version_records
from kept.watch import feed
from kept.watch.state import State

ALIASES = ["prod", "best", "epoch_1", "old"]


def _event(number, chance, versions):
    """Return a random event of a log with a number of versions."""
    event = {"number": number, "time": f"t{number}", "write_id": f"{number:032x}"}
    some = [chance.randrange(versions) for _ in range(chance.randrange(3))] if versions else []
    moves = {a: chance.choice([None, *range(versions)]) for a in chance.sample(ALIASES, 2)}
    kinds = ["version", "alias", "delete", "undelete", "remove", "restore", "metrics", "update"]
    kind = chance.choice(kinds) if versions else "version"
    one = {"event": kind, "index": chance.randrange(versions or 1)}
    match kind:
        case "version":
            return event | {
                "event": kind, "index": versions, "type": "model", "manifest": f"m{number}",
                "digest": f"d{number}", "size": number, "metadata": {"n": number},
                "aliases": chance.sample(ALIASES, chance.randrange(3)),
                **({"deleted": True} if chance.random() < 0.2 else {}),
            }  # fmt: skip
        case "alias":
            return event | {"event": kind, "aliases": moves}
        case "remove" | "restore":
            return event | {"event": kind, "indexes": some}
        case "metrics":
            return event | one | {"metrics": {"acc": number}, "aliases": moves}
        case "update":
            return event | one | {"tags": {"t": chance.random() < 0.5}, "set": {"k": number}}
    return event | one


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_the_fold_backwards_says(seed):
    chance = random.Random(seed)
    state, items, versions = State(), [], 0
    for number in range(1, 60):
        event = _event(number, chance, versions)
        versions += event["event"] == "version"
        items.insert(0, event)
        state.add(event)
        found = list(version_records(items))[::-1]
        for expected in found:
            mine = state.version(expected.index)
            for key in ("index", "type", "aliases", "metadata", "deleted", "changes", "digest"):
                assert getattr(mine, key) == getattr(expected, key), (key, items)
        assert state.live(range(versions + 2)) == [r.index for r in found if not r.deleted]
        for alias in ALIASES:
            holder = next((r.index for r in found if alias in r.aliases), None)
            assert state.holder(alias) == holder
    assert state.version(versions) is state.version(None) is None


def test_a_record_that_cannot_be_read_leaves_open_which_version_is_the_newest():
    state, chance = State(), random.Random(1)
    state.add(_event(1, chance, 0) | {"aliases": []})
    state.add(Fault(2, "record 2 is damaged"))
    assert state.version(0).aliases == ()


def test_many_events_are_read_in_one_pass(store, put, noted, look, monkeypatch):
    added = []

    class Counting(State):
        def add(self, item):
            added.append(item["number"])
            super().add(item)

    monkeypatch.setattr(feed, "State", Counting)
    for _ in range(8):
        put(store)
        store.set_alias("m:latest", "prod")
    assert look(store, noted, from_start=True).sent == 16
    assert added == list(range(1, 17))
