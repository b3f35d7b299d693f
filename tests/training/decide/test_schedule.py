from types import SimpleNamespace

import pytest

from kept.training.decide.moment import Moment
from kept.training.decide.schedule import SaveSchedule

pytestmark = pytest.mark.any_framework


def schedule(save_freq="epoch", seconds=float("inf"), **more):
    made = SaveSchedule(SimpleNamespace(save_freq=save_freq, **more), seconds)
    made.begin_fit()
    return made


def run(made, epochs, batches, step=1):
    """Return (epoch, batch) of each save by save_freq."""
    found = []
    for epoch in range(epochs):
        made.begin_epoch(epoch)
        ends = range(step - 1, batches, step)
        found += [(epoch, batch) for batch in ends if made.end_batch(batch)]
        if made.end_epoch():
            found.append((epoch, None))
    return found


def test_epochs():
    assert run(schedule(), 3, 4) == [(0, None), (1, None), (2, None)]


def test_period_of_tf_keras():
    assert run(schedule(period=2), 5, 1) == [(1, None), (3, None)]


def test_batches_are_counted_across_epochs():
    assert run(schedule(3), 3, 4) == [(0, 2), (1, 1), (2, 0), (2, 3)]


def test_batches_with_steps_per_execution():
    assert run(schedule(3), 2, 4, step=2) == [(0, 3), (1, 3)]


def test_save_freq_may_be_set_after_construction():
    callback = SimpleNamespace(save_freq="epoch")
    made = SaveSchedule(callback, float("inf"))
    callback.save_freq = 2
    assert run(made, 1, 4) == [(0, 1), (0, 3)]


def test_skipped_batches_do_not_count():
    made = schedule(2)
    made.begin_epoch(0)
    made.skip_batch(0)
    made.skip_batch(1)
    assert [made.end_batch(2), made.end_batch(3)] == [False, True]


def test_the_clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("kept.training.decide.schedule.time.monotonic", lambda: now[0])
    made = schedule(seconds=10)
    assert not made.is_time()
    now[0] += 10
    assert made.is_time()
    made.save_begins()
    assert not made.is_time()
    assert not schedule().is_time(), "without save_every never"


def test_a_moment_that_is_saved_already():
    made = schedule()
    made.saved(Moment(2, None, {}))
    assert made.is_saved(Moment(2, None, {"loss": 1.0}))
    assert not made.is_saved(Moment(2, 5, {}))
    made.begin_fit()
    assert not made.is_saved(Moment(2, None, {}))
