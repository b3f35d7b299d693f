"""The way back of rollbacks: moves are a stack, and a rollback takes them away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.store.promotion.stack import earlier_holders


def events(*moves):
    """Events of moves: a number puts the alias there, a list of one rolls back, None removes it."""
    for move in moves:
        if isinstance(move, list):
            yield {"event": "alias", "aliases": {"p": move[0]}, "promotion": {"action": "rollback"}}
        else:
            yield {"event": "alias", "aliases": {"p": move}}
        yield {"event": "delete", "index": 1}
        yield {"event": "alias", "aliases": {"other": 9}}


@pytest.mark.parametrize(
    ("moves", "now", "earlier"),
    [
        ((3, 5, 7), 7, [5, 3]),
        ((3, 5, 7, [5]), 5, [3]),
        ((3, 5, 7, [5], [3]), 3, []),
        ((3, 5, 7, [5], 8), 8, [5, 3]),
        ((3, 5, 7, [3], 8), 8, [3]),
        ((3, 5, 3, 7), 7, [3, 5]),
        ((3, 5, 3, 7, [3]), 3, [5]),
        ((3, 3, 3), 3, []),
        ((3, 5, None), None, [5, 3]),
        ((3, 5, None, 9), 9, [5, 3]),
        ((3, 5, None, 9, [5]), 5, [3]),
        ((3, 5), None, [5, 3]),  # v5 was deleted with the alias
        ((), None, []),
    ],
)
def test_the_way_back(moves, now, earlier):
    assert list(earlier_holders(events(*moves), "p", now)) == earlier


def test_versions_metrics_and_rules_move_an_alias_too():
    log = [
        {"event": "version", "index": 0, "aliases": ["p"]},
        {"event": "version", "index": 1, "aliases": []},
        {"event": "metrics", "index": 1, "aliases": {"p": 1}},
        {"event": "rule", "best": None, "aliases": {"p": 0}},
        {"event": "rule", "best": None},
    ]
    assert list(earlier_holders(log, "p", 0)) == [1]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_rollbacks_end_at_the_first_version(moves):
    """Each rollback goes to another version, until none is left."""
    log, now = list(moves), moves[-1]
    seen = []
    while earlier := list(earlier_holders(events(*log), "p", now)):
        assert now not in earlier
        now = earlier[0]
        log.append([now])
        seen.append(now)
        assert len(seen) <= len(moves)
    assert now == moves[0] or moves[0] in seen
