import pytest

from kept.training.save import pace
from kept.training.save.pace import SavePace

pytestmark = pytest.mark.any_framework
MB = 10**6


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    return now


def saves(clock, between, took=None):
    made = SavePace()
    made.begin()
    clock[0] += between
    made.save_begins(clock[0])
    if took is not None:
        started = clock[0]
        clock[0] += took
        made.save_ended(started)
        clock[0] = started + between
        made.save_begins(clock[0])
    return made


@pytest.mark.parametrize(
    ("between", "overlap"), [(0.4, False), (0.6, True), (1.0, True), (1.9, True), (2.1, False)]
)
def test_a_guess_until_the_first_save_is_written(clock, between, overlap):
    assert saves(clock, between).may_overlap(300 * MB) is overlap


@pytest.mark.parametrize(("took", "overlap"), [(0.4, False), (0.6, True), (5.0, True)])
def test_the_measured_time_decides_after_that(clock, took, overlap):
    assert saves(clock, 1.0, took).may_overlap(300 * MB) is overlap
