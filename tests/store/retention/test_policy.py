"""Which versions are kept, which are not, and why: the decision alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kept
from kept.errors import InvalidInput
from kept.store.log.history import VersionRecord
from kept.store.retention.policy import Mirrored, decide

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def version(index, *, value=None, aliases=(), hours=None, expires=None, **metadata):
    """Version index, of one epoch each, made an hour after the one before unless hours ago."""
    made = NOW - timedelta(hours=100 - index if hours is None else hours)
    epoch = {"epoch": index, "batch": None, "monitor": "loss", "mode": "min", "value": value}
    return VersionRecord(
        index, "model", f"m{index}", f"d{index}", 10, tuple(aliases), epoch | metadata,
        made.isoformat(), deleted=False, expires=expires,
    )  # fmt: skip


class Sizes:
    """The chunks of versions, given by their numbers."""

    def __init__(self, held):
        self.held = held

    def of(self, record):
        return self.held[record.index]


def as_mirrored(version):
    return None if version is None else Mirrored(version)


def kept_of(versions, keep, **options):
    return [d.record.index for d in decide(versions, keep, NOW, **options) if d.keep]


def why(versions, keep, **options):
    return {d.record.index: ", ".join(d.reasons) for d in decide(versions, keep, NOW, **options)}


TEN = [version(n, value=v) for n, v in enumerate([9, 5, 7, 1, 3, 8, 2, 6, 4, 9])]


@pytest.mark.parametrize(
    ("keep", "indexes"),
    [
        (kept.Keep(last=1), [9]),
        (kept.Keep(last=3), [7, 8, 9]),
        (kept.Keep(last=99), list(range(10))),
        (kept.Keep(best=2), [3, 6, 9]),
        (kept.Keep(last=2, best=2), [3, 6, 8, 9]),
        (kept.Keep(every="4 epochs"), [3, 7, 9]),
        (kept.Keep(every="1 epoch"), list(range(10))),
        (kept.Keep(within="93h"), [8, 9]),
        (kept.Keep(within=timedelta(days=99)), list(range(10))),
        (kept.Keep(last=1, every="5 epochs", best=1), [3, 4, 9]),
    ],
)
def test_rules_add_up(keep, indexes):
    if keep.every == "5h":
        starts = {
            int((NOW.timestamp() - (100 - n) * 3600) // (5 * 3600)): n for n in range(9, -1, -1)
        }
        indexes = sorted({*starts.values(), 9})
    assert kept_of(TEN, keep) == indexes


def test_the_first_of_each_span_is_kept():
    midnight = datetime(2026, 11, 20, tzinfo=UTC)
    hours = [(NOW - midnight).total_seconds() / 3600 - h for h in (1, 5, 6, 11, 12.5, 13, 30)]
    versions = [version(n, hours=h) for n, h in enumerate(hours)]
    assert kept_of(versions, kept.Keep(every="6h")) == [0, 2, 4, 6]


def test_reasons_are_given():
    assert why(TEN, kept.Keep(last=2, best=1)) == {
        **dict.fromkeys(range(8), "no rule keeps it"),
        3: "best 1",
        8: "last 2",
        9: "newest, last 2",
    }


def test_best_goes_up_with_mode_max_and_the_older_of_equals_is_better():
    versions = [version(n, value=v, mode="max") for n, v in enumerate([1, 3, 2, 3, 0])]
    assert kept_of(versions, kept.Keep(best=1)) == [1, 4]
    assert kept_of(versions, kept.Keep(best=2)) == [1, 3, 4]


def test_best_is_by_the_newest_metric():
    versions = [version(0, value=0.1, monitor="acc", mode="max"), version(1, value=5.0),
                version(2, value=4.0), version(3)]  # fmt: skip
    assert kept_of(versions, kept.Keep(best=9)) == [1, 2, 3]


def test_a_number_may_be_of_any_size():
    versions = [version(0, value=10**400), version(1, value=1.5), version(2, value=10**500)]
    assert kept_of(versions, kept.Keep(best=2)) == [0, 1, 2]
    assert kept_of(versions, kept.Keep(best=1)) == [1, 2]


@pytest.mark.parametrize("value", [None, "nan", "inf", "text", True, [1], {"a": 1}])
def test_what_is_no_finite_number_is_not_best(value):
    versions = [version(0, value=value), version(1, value=3.0), version(2, value=value)]
    assert 1 in kept_of(versions, kept.Keep(best=5))
    assert why(versions, kept.Keep(best=5))[0] == "no rule keeps it"


def test_metadata_of_other_programs_does_no_harm():
    odd = {"epoch": "three", "batch": {}, "metrics": [1], "step": None, "mode": 7, "monitor": []}
    versions = [version(n, **odd) for n in range(3)]
    for keep in (kept.Keep(best=1), kept.Keep(every="2 epochs"), kept.Keep(every="5 steps")):
        assert kept_of(versions, keep) == [2]


def test_steps_and_epochs_count_the_first_version_that_reaches_them():
    saved = [(0, 40), (0, 90), (1, 30), (1, None), (2, 10), (3, None), (5, None)]
    versions = [version(n, epoch=e, batch=b, step=100 * e + (100 if b is None else b))
                for n, (e, b) in enumerate(saved)]  # fmt: skip
    assert kept_of(versions, kept.Keep(every="2 epochs")) == [3, 5, 6]
    assert kept_of(versions, kept.Keep(every="100 steps")) == [2, 3, 5, 6]


def test_the_newest_without_nan_stays_when_training_diverges():
    good = [version(n, value=1.0 + n) for n in range(3)]
    bad = [version(3, value="nan"), version(4, metrics={"loss": "inf", "acc": 0.5})]
    assert why(good + bad, kept.Keep(last=1)) == {
        0: "no rule keeps it",
        1: "no rule keeps it",
        2: "newest without NaN",
        3: "no rule keeps it",
        4: "newest, last 1",
    }


def test_named_versions_stay_and_automatic_names_do_not_count():
    versions = [
        version(0, aliases=["epoch_0"]),
        version(1, aliases=["epoch_1", "prod"]),
        version(2, aliases=["best", "epoch_2_batch_7"]),
        version(3, aliases=["epoch_3x"]),
        version(4, aliases=["epoch_4"]),
        version(5, aliases=["latest", "epoch_5"]),
    ]
    assert why(versions, kept.Keep(last=1)) == {
        0: "no rule keeps it",
        1: "alias prod",
        2: "alias best",
        3: "alias epoch_3x",
        4: "no rule keeps it",
        5: "newest, last 1",
    }


@pytest.mark.parametrize(("mirrored", "left"), [(None, [9]), (-1, list(range(10))), (6, [7, 8, 9])])
def test_what_is_not_mirrored_stays(mirrored, left):
    assert kept_of(TEN, kept.Keep(last=1), mirrored=as_mirrored(mirrored)) == left


def test_expired_versions_go_whatever_the_rules_say_but_for_those_that_never_go():
    past, later = (NOW - timedelta(hours=1)).isoformat(), (NOW + timedelta(hours=1)).isoformat()
    versions = [
        version(0, expires=past),
        version(1, expires=later),
        version(2, expires=past, aliases=["prod"]),
        version(3, expires=None),
        version(4, expires=past),
    ]
    assert kept_of(versions, None) == kept_of(versions, kept.Keep(last=9)) == [1, 2, 3, 4]
    assert why(versions, None)[0] == f"expired {past}"
    assert kept_of(versions, kept.Keep(last=2)) == [2, 3, 4]


def test_a_budget_counts_shared_chunks_once_and_gives_up_the_oldest():
    held = {n: {"base": 100, f"head{n}": 10} for n in range(10)}
    sizes = Sizes(held)
    assert kept_of(TEN, kept.Keep(bytes=130), sizes=sizes) == [7, 8, 9]
    assert kept_of(TEN, kept.Keep(bytes=1000), sizes=sizes) == list(range(10))
    assert kept_of(TEN, kept.Keep(bytes=0), sizes=sizes) == [9]
    assert kept_of(TEN, kept.Keep(best=3, bytes=120), sizes=sizes) == [6, 9]
    reasons = why(TEN, kept.Keep(best=4, bytes=120), sizes=sizes)
    assert (reasons[6], reasons[7]) == ("over the budget of 120", "no rule keeps it")


def test_a_budget_does_not_touch_what_never_goes():
    versions = [version(0, aliases=["prod"]), version(1), version(2)]
    held = {0: {"a": 100}, 1: {"b": 1}, 2: {"c": 1}}
    assert kept_of(versions, kept.Keep(bytes=50), sizes=Sizes(held)) == [0, 2]
    assert kept_of(versions, kept.Keep(bytes=102), sizes=Sizes(held)) == [0, 1, 2]


def test_a_budget_adds_up_each_chunk_once():
    """However many versions there are: what is held was added up again for each of them."""
    added = []

    class Size(int):
        def __radd__(self, other):
            added.append(self)
            return other + int(self)

    versions = [version(n) for n in range(50)]
    held = {n: {f"c{n}": Size(10)} for n in range(50)}
    decide(versions, kept.Keep(bytes=10**9), NOW, sizes=Sizes(held))
    assert len(added) == 50


def test_no_versions():
    assert decide([], kept.Keep(last=1), NOW) == decide([], None, NOW) == []


_policies = st.builds(
    kept.Keep,
    last=st.integers(1, 5),
    best=st.none() | st.integers(1, 5),
    every=st.none() | st.sampled_from(["3 epochs", "2h"]),
    within=st.none() | st.sampled_from(["3h", "2d"]),
    bytes=st.none() | st.integers(0, 60),
)
_versions = st.lists(
    st.tuples(
        st.none() | st.just("nan") | st.floats(0, 9),
        st.sampled_from([(), ("epoch_1",), ("prod",), ("best",)]),
        st.sampled_from([None, NOW.isoformat()]),
    ),
    max_size=12,
)


@given(_versions, _policies, st.none() | st.integers(-1, 12))
@settings(max_examples=300)
def test_whatever_the_policy_what_must_stay_stays_and_deciding_again_changes_nothing(
    given_versions, keep, mirrored
):
    versions = [version(n, value=v, aliases=a, expires=e)
                for n, (v, a, e) in enumerate(given_versions)]  # fmt: skip
    held = {version.index: {f"c{version.index % 5}": 10} for version in versions}
    options = {"mirrored": as_mirrored(mirrored), "sizes": Sizes(held)}
    left = kept_of(versions, keep, **options)
    assert all(d.reasons for d in decide(versions, keep, NOW, **options))
    must = {e.index for e in versions if {"prod", "best"} & set(e.aliases)}
    must |= {e.index for e in versions if mirrored is not None and e.index > mirrored}
    must |= {e.index for e in versions[-1:]}
    must |= {e.index for e in [e for e in versions if e.metadata["value"] != "nan"][-1:]}
    assert must <= set(left)
    again = kept_of([e for e in versions if e.index in left], keep, **options)
    assert again == left


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({}, "at least one rule of last, best, every, within, bytes"),
        ({"last": 0}, "last is a number of versions, 1 or more. Received: last=0"),
        ({"last": True}, "Received: last=True"),
        ({"best": 2.5}, "Received: best=2.5"),
        ({"every": "10"}, "'10 epochs', '1000 steps' or '6h'.*Received: every='10'"),
        ({"every": "0 epochs"}, "Received: every='0 epochs'"),
        ({"every": "0s"}, "Received: every='0s'"),
        ({"every": 10}, None),
        ({"within": "a week"}, "within is a time.*Received: 'a week'"),
        ({"bytes": "50 gigs"}, "bytes is a number of bytes.*Received: '50 gigs'"),
    ],
)
def test_bad_rules_are_refused_when_they_are_made(rules, says):
    if says is None:
        assert kept.Keep(**rules).period.unit == "second"
        return
    with pytest.raises(InvalidInput, match=says):
        kept.Keep(**rules)


def measured(record, *values, dataset=None):
    """The version with a metric acc that was logged later, each value newer than the one before."""
    for value in values:
        event = {"event": "metrics", "metrics": {"acc": value}, "time": "", "dataset": dataset}
        record = record._replace(changes=record.changes.after(event))
    return record


def test_the_best_by_a_metric_that_was_logged_later():
    values = {0: [0.9], 2: [0.1], 3: [0.99, 0.5], 5: ["nan"], 6: [0.7], 9: [0.2]}
    versions = [measured(r, *values.get(r.index, [])) for r in TEN]
    assert kept_of(versions, kept.Keep(best=2, monitor="acc")) == [0, 6, 9]
    assert kept_of(versions, kept.Keep(best=2, monitor="acc", mode="min")) == [2, 9]
    assert kept_of(versions, kept.Keep(best=2, monitor="loss")) == [3, 6, 9], "of the save"
    assert why(versions, kept.Keep(best=1, monitor="acc"))[0] == "best 1 by acc"


def test_versions_that_wait_for_their_measurement_stay():
    keep = kept.Keep(best=1, monitor="acc")
    assert kept_of(TEN, keep) == list(range(10)), "no version was measured"
    versions = [measured(r, r.index / 10) if r.index in (2, 6) else r for r in TEN]
    assert kept_of(versions, keep) == [6, 7, 8, 9]
    assert why(versions, keep)[8] == "acc not measured yet"
    assert kept_of(versions, kept.Keep(best=1, monitor="acc@x")) == list(range(10))


@pytest.mark.parametrize(
    "options",
    [
        {"monitor": "acc"}, {"last": 1, "monitor": "acc"}, {"best": 1, "mode": "max"},
        {"best": 1, "monitor": "fun"}, {"best": 1, "monitor": "acc", "mode": "up"},
        {"best": 1, "monitor": ""}, {"best": 1, "monitor": 3},
    ],
)  # fmt: skip
def test_a_metric_that_cannot_rank(options):
    with pytest.raises(InvalidInput, match="Received"):
        kept.Keep(**options)
