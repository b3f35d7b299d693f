from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kept.errors import Damaged
from kept.store.log.events import Fault
from kept.store.log.history import live, version_records

ALIASES = ["best", "prod", "epoch_1", "a"]
some_aliases = st.lists(st.sampled_from(ALIASES), unique=True, max_size=3)
steps = st.one_of(
    st.tuples(st.just("version"), some_aliases),
    st.tuples(st.just("alias"), some_aliases, st.none() | st.integers(0, 9)),
    st.tuples(st.sampled_from(["delete", "undelete"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["remove", "restore"]), st.sets(st.integers(0, 9))),
    st.tuples(st.just("rule"), some_aliases, st.integers(0, 9)),
    st.tuples(st.just("metrics"), some_aliases, st.integers(0, 9), st.sampled_from(["a", "b"])),
    st.tuples(st.just("update"), st.integers(0, 9), st.sampled_from("xyz"), st.booleans()),
    st.tuples(st.just("expires"), st.integers(0, 9), st.sampled_from([None, "soon", "late"])),
)


def version_event(index, aliases):
    return {
        "event": "version", "index": index, "aliases": aliases, "type": "model", "size": index,
        "manifest": f"m{index}", "digest": f"d{index}", "metadata": {"n": index}, "time": "t",
    }  # fmt: skip


def events_of(plan):
    """Turn steps into events that a store could have logged: only of versions that there are."""
    events, count = [], 0
    for kind, what, *rest in plan:
        if kind == "version":
            events.append(version_event(count, what))
            count += 1
        elif count and kind == "alias":
            index = None if rest[0] is None else rest[0] % count
            events.append({"event": "alias", "aliases": dict.fromkeys(what, index)})
        elif count and kind == "rule":
            moves = dict.fromkeys(what, rest[0] % count)
            events.append({"event": kind, "best": None, "aliases": moves})
        elif count and kind == "metrics":
            index, time = rest[0] % count, f"{len(events):03}"
            moves = dict.fromkeys(what, index)
            events.append({"event": kind, "index": index, "aliases": moves, "time": time,
                           "metrics": {rest[1]: len(events)}})  # fmt: skip
        elif count and kind == "update":
            tags = {rest[0]: rest[1]}
            events.append({"event": kind, "index": what % count, "tags": tags, "set": tags,
                           "time": f"{len(events):03}"})  # fmt: skip
        elif count and kind in ("remove", "restore"):
            indexes = sorted({each % count for each in what})
            events.append({"event": kind, "indexes": indexes, "time": f"{len(events)}"})
        elif count and kind == "expires":
            events.append({"event": "alias", "aliases": {}, "index": what % count, kind: rest[0]})
        elif count:
            events.append({"event": kind, "index": what % count, "time": f"{len(events)}"})
    return events


def oldest_first(events):
    """The same, folded from the oldest event on: the facts of every version."""
    count, holder, deleted, expires = 0, {}, {}, {}
    metrics, tags = defaultdict(dict), defaultdict(dict)
    for event in events:
        if event["event"] in ("metrics", "update"):
            metrics[event["index"]] |= event.get("metrics", {})
            tags[event["index"]] |= event.get("tags", {})
        if event["event"] in ("metrics", "rule"):
            holder |= event["aliases"]
        if event["event"] == "version":
            holder |= dict.fromkeys(event["aliases"], event["index"])
            count += 1
        elif event["event"] == "alias":
            holder |= event["aliases"]
            if "expires" in event:
                expires[event["index"]] = event["expires"]
        elif event["event"] in ("delete", "remove"):
            indexes = event.get("indexes", [event.get("index")])
            deleted |= dict.fromkeys(indexes, event["time"])
        elif event["event"] in ("undelete", "restore"):
            for index in event.get("indexes", [event.get("index")]):
                deleted.pop(index, None)
    latest = max(set(range(count)) - set(deleted), default=None)
    return [
        (
            n,
            ["latest"] * (n == latest) + sorted(a for a in holder if holder[a] == n),
            n in deleted,
            deleted.get(n),
            expires.get(n),
            metrics[n],
            sorted(tag for tag, has in tags[n].items() if has),
            {"n": n} | tags[n],
        )
        for n in range(count)
    ]


@given(st.lists(steps, max_size=40))
@settings(max_examples=500)
def test_newest_first_tells_what_oldest_first_does(plan):
    events = events_of(plan)
    found = list(version_records(reversed(events)))
    told = [
        (e.index, list(e.aliases), e.deleted, e.deleted_at, e.expires, e.changes.metrics,
         list(e.changes.tags), e.described)
        for e in found
    ]  # fmt: skip
    assert told[::-1] == oldest_first(events)
    assert [entry.index for entry in live(reversed(events))] == [
        n for n, _, gone, *_ in told if not gone
    ]


def test_an_entry_tells_what_its_event_does():
    entry = next(version_records([version_event(7, ["best"])]))
    assert (entry.index, entry.type, entry.manifest, entry.digest) == (7, "model", "m7", "d7")
    assert (entry.size, entry.metadata, entry.created_at) == (7, {"n": 7}, "t")
    assert entry.aliases == ("latest", "best")
    assert (entry.deleted_at, entry.expires) == (None, None)
    entry = next(version_records([version_event(7, []) | {"deleted": True, "expires": "soon"}]))
    assert (entry.deleted, entry.deleted_at, entry.expires) == (True, "t", "soon")


def test_only_as_much_is_read_as_is_asked_for():
    def events():
        yield version_event(1, [])
        raise AssertionError("read too far")

    assert next(live(events())).index == 1


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([2, 0], "v1 is in no record; record 1 commits v0"),
        ([1], "v0 is in no record"),
        ([1, 1, 0], "Record 2 commits v1, and so does a later record"),
        ([1, 2, 0], "Record 2 commits v2, and so does a later record"),
    ],
)
def test_versions_are_numbered_without_a_gap(order, message):
    newest_first = [
        version_event(index, []) | {"number": number}
        for number, index in zip(range(len(order), 0, -1), order, strict=True)
    ]
    with pytest.raises(Damaged, match=message):
        list(version_records(newest_first))
    faults = []
    found = [record.index for record in version_records(newest_first, faults)]
    assert found == list(dict.fromkeys(i for i in order if i <= order[0]))
    assert [message in fault.message for fault in faults] == [True]


def test_a_fault_makes_older_versions_uncertain_and_hides_none():
    fault = Fault(2, "record 2 is missing")
    newest_first = [version_event(2, []), fault, version_event(0, ["best"])]
    with pytest.raises(Damaged, match="record 2 is missing"):
        list(version_records(newest_first))
    faults = []
    found = [(r.index, r.is_uncertain) for r in version_records(newest_first, faults)]
    assert (found, faults) == ([(2, False), (0, True)], [fault])
