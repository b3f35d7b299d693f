import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kept.errors import Damaged
from kept.store.history import entries, live

ALIASES = ["best", "prod", "epoch_1", "a"]
some_aliases = st.lists(st.sampled_from(ALIASES), unique=True, max_size=3)
steps = st.one_of(
    st.tuples(st.just("version"), some_aliases),
    st.tuples(st.just("alias"), some_aliases, st.none() | st.integers(0, 9)),
    st.tuples(st.sampled_from(["delete", "undelete"]), st.integers(0, 9)),
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
        elif count:
            events.append({"event": kind, "index": what % count})
    return events


def oldest_first(events):
    """The same, told in the plain order: (index, aliases, deleted) of every version."""
    count, holder, deleted = 0, {}, set()
    for event in events:
        if event["event"] == "version":
            holder |= dict.fromkeys(event["aliases"], event["index"])
            count += 1
        elif event["event"] == "alias":
            holder |= event["aliases"]
        elif event["event"] == "delete":
            deleted.add(event["index"])
        else:
            deleted.discard(event["index"])
    latest = max(set(range(count)) - deleted, default=None)
    return [
        (n, ["latest"] * (n == latest) + sorted(a for a in holder if holder[a] == n), n in deleted)
        for n in range(count)
    ]


@given(st.lists(steps, max_size=40))
@settings(max_examples=500)
def test_newest_first_tells_what_oldest_first_does(plan):
    events = events_of(plan)
    found = list(entries(reversed(events)))
    told = [(entry.index, list(entry.aliases), entry.deleted) for entry in found]
    assert told[::-1] == oldest_first(events)
    assert [entry.index for entry in live(reversed(events))] == [
        n for n, _, gone in told if not gone
    ]


def test_an_entry_tells_what_its_event_does():
    [entry] = entries([version_event(7, ["best"])])
    assert (entry.index, entry.type, entry.manifest, entry.digest) == (7, "model", "m7", "d7")
    assert (entry.size, entry.metadata, entry.created_at) == (7, {"n": 7}, "t")
    assert entry.aliases == ("latest", "best")


def test_only_as_much_is_read_as_is_asked_for():
    def events():
        yield version_event(1, [])
        raise AssertionError("read too far")

    assert next(live(events())).index == 1


@pytest.mark.parametrize(
    "event", [{}, {"event": "rename"}, {"event": "delete"}, {"event": "version"}]
)
def test_events_that_nobody_knows_are_damage(event):
    with pytest.raises(Damaged, match="Record 4 "):
        list(entries([event | {"number": 4}]))
