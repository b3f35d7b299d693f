"""Messages between the processes of a group; each process is a thread here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from kept.errors import RankMissing
from tests.training.group.threads import groups


def on_all(found, call):
    with ThreadPoolExecutor(len(found)) as pool:
        return list(pool.map(call, found))


def test_all_ranks_get_the_same_values_in_order():
    def work(group):
        channel = group.channel("c")
        got = [channel.gather([group.rank], "a")]
        got += [channel.broadcast(n if group.is_first else None, "b") for n in range(3)]
        return [*got, channel.gather("x" * 2_000_000 + str(group.rank), "large")]

    found = groups(3)
    first, *others = on_all(found, work)
    assert all(other == first for other in others)
    assert first[:4] == [[[0], [1], [2]], 0, 1, 2]
    assert [len(text) for text in first[4]] == [2_000_001] * 3
    left = [key for key in found[0].transport._shared.values if "/5/" not in key]
    assert left == []  # what all have read is deleted


def test_the_first_rank_collects_and_the_others_do_not_wait():
    found = groups(3)
    large = "x" * 2_000_000  # in several parts
    for group in found[1:]:
        assert group.channel("c").collect([group.rank, large], "states") == []
    found_all = found[0].channel("c").collect("own", "states")
    assert found_all == ["own", [1, large], [2, large]]
    assert found[0].transport._shared.values == {}


def test_channels_of_a_series_are_deleted_up_to_one_that_all_have_sent_on():
    found = groups(2)

    def work(group):
        before = [group.in_series("s", group.channel(str(n))) for n in range(3)]
        other = group.in_series("t", group.channel("other"))
        for channel in (*before, other):
            channel.gather("x" * 600_000, "a")
        last = group.in_series("s", group.channel("last"))
        last.gather(None, "b")
        group.in_series("s", group.channel("after")).gather(None, "c")
        group.delete_before(last, "s")

    on_all(found, work)
    left = {key.split("/")[1] for key in found[0].transport._shared.values}
    assert left == {"other", "last", "after"}


def test_a_missing_rank_is_named():
    found = groups(3, seconds=0.05)
    found[1].channel("c").collect("here", "states")
    with pytest.raises(
        RankMissing, match=r"rank 2 of 3 did not answer.*waited for the states"
    ) as e:
        found[0].channel("c").collect("own", "the states")
    assert e.value.ranks == (2,)
    assert isinstance(e.value, TimeoutError)
    with pytest.raises(RankMissing, match=r"rank 0 of 3 did not answer.*rank 1 waited"):
        found[1].channel("d").receive("a decision")
