import math

import pytest

from kept.training.decide.best import BestTracker
from kept.training.monitor import Metric
from kept.training.request import SaveRequest, SaveResult

pytestmark = pytest.mark.any_framework


def loss(value):
    return Metric("val_loss", "min", value)


def result(improvement, **more):
    request = SaveRequest(
        model=None, artifact="m", path="m.keras", target="/m.keras", aliases=("epoch_0",),
        metadata={}, label="Epoch 1", started=0.0, improvement=improvement,
    )  # fmt: skip
    return SaveResult(request, **more)


@pytest.fixture
def best():
    return BestTracker()


def test_a_proposal_counts_before_its_checkpoint_is_written(best):
    first = best.propose(loss(0.5))
    assert (first.value, first.before, best.value) == (0.5, None, 0.5)
    assert best.propose(loss(0.5)) is None
    assert best.propose(loss(0.6)) is None
    assert best.propose(loss(0.4)).before == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_finite_number_is_never_the_best(best, value):
    assert best.propose(loss(value)) is None
    assert best.value is None


def test_max_goes_up(best):
    assert best.propose(Metric("acc", "max", 0.5))
    assert best.propose(Metric("acc", "max", 0.4)) is None
    assert best.propose(Metric("acc", "max", 0.6))


def test_a_commit_confirms_and_a_failure_takes_back(best):
    best.settle(result(best.propose(loss(0.5)), committed=True))
    worse = best.propose(loss(0.4))
    assert best.value == 0.4
    best.settle(result(worse))
    assert best.value == 0.5


def test_a_failure_leaves_a_later_proposal(best):
    first, second = best.propose(loss(0.5)), best.propose(loss(0.4))
    best.settle(result(first))
    assert best.value == 0.4
    best.settle(result(second))
    assert best.value is None, "0.5 was never saved"


def test_a_commit_ends_older_proposals_that_got_no_result(best):
    best.propose(loss(0.8))  # its hook was interrupted
    best.settle(result(best.propose(loss(0.5)), committed=True))
    assert best.value == 0.5
    assert best.propose(loss(0.7)) is None


def test_a_dropped_request_is_settled_before_one_that_is_still_written(best):
    written, dropped = best.propose(loss(0.5)), best.propose(loss(0.4))
    best.settle(result(dropped, dropped=True))
    assert best.value == 0.5
    best.settle(result(written, committed=True))
    assert best.value == 0.5


def test_a_result_without_a_proposal_changes_nothing(best):
    best.settle(result(best.propose(loss(0.5)), committed=True))
    best.settle(result(None, committed=True))
    best.settle(result(None))
    assert best.value == 0.5


def test_a_value_that_is_set_wins_over_open_proposals(best):
    open_one = best.propose(loss(0.5))
    best.value = 0.1  # by the user, or by a resume
    best.settle(result(open_one, committed=True))
    assert best.value == 0.1


def test_an_earlier_best_counts_if_it_is_better(best):
    assert not best.continue_from(loss(None))
    assert best.continue_from(loss(0.5))
    assert not best.continue_from(loss(0.6))
    assert not best.continue_from(loss(math.nan))
    assert best.value == 0.5
