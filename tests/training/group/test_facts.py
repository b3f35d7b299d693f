"""What all ranks compare before they train; each rank is a thread here."""

from __future__ import annotations

import re

import pytest

from kept.errors import GroupError
from kept.training.group.facts import check_equal
from tests.training.group.test_base import on_all
from tests.training.group.threads import groups

MODEL = [[[3, n], "float32"] for n in range(1000)]


def facts(model, host="h"):
    return {"host": host, "name": "'m'", "model": model}


def test_of_equal_models_only_the_digest_travels():
    found = groups(3)
    on_all(found, lambda group: check_equal(group, 0, facts(MODEL, f"host {group.rank}")))
    left = found[0].transport._shared.values
    assert sorted(left) == [f"kept/0/facts/1/{rank}" for rank in range(3)]
    assert max(map(len, left.values())) < 200


def test_the_messages_of_earlier_fits_are_deleted():
    found = groups(2)
    for fit in range(4):
        on_all(found, lambda group, fit=fit: check_equal(group, fit, facts(MODEL)))
    assert sorted(found[0].transport._shared.values) == ["kept/3/facts/1/0", "kept/3/facts/1/1"]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (MODEL[:-1], "rank 1 (on h) has a model with 999 weights; rank 0 has 1000"),
        (
            [*MODEL[:-1], [[3, 7], "int8"]],
            "another model: weights [[3, 7], 'int8']; rank 0 has [[3, 999], 'float32']",
        ),
    ],
)
def test_another_model_is_shown_on_all_ranks(model, says):
    def work(group):
        with pytest.raises(GroupError, match=re.escape(says)):
            check_equal(group, 0, facts(model if group.rank == 1 else MODEL))

    on_all(groups(3), work)
