"""Threads that share the work: none is left behind, whatever interrupts the one that waits."""

import threading
import time

import pytest

from kept.parallel import in_threads


def test_everything_is_done_once():
    done = []
    in_threads(done.append, range(100), 4)
    assert sorted(done) == list(range(100))


def test_an_error_stops_the_rest_and_is_raised():
    done = []

    def work(item):
        done.append(item)
        if item == 3:
            raise ValueError(item)

    with pytest.raises(ValueError, match="3"):
        in_threads(work, range(10_000), 2)
    assert len(done) < 10_000


@pytest.mark.parametrize("call", ["start", "join"])
@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_leaves_no_thread_behind(monkeypatch, call, times):
    real, interrupted, done = getattr(threading.Thread, call), [], []

    def interrupting(thread, *timeout):
        if call == "start":
            real(thread)
        if thread.name == "kept-put" and len(interrupted) < times:
            interrupted.append(thread)
            raise KeyboardInterrupt
        if call == "join":
            real(thread, *timeout)

    def work(item):
        time.sleep(0.01)
        done.append(item)

    monkeypatch.setattr(threading.Thread, call, interrupting)
    with pytest.raises(KeyboardInterrupt):
        in_threads(work, range(1000), 3)
    count = len(done)
    assert not any(t.name == "kept-put" and t.is_alive() for t in threading.enumerate())
    assert len(interrupted) == (1 if call == "start" else times)  # none is started after it
    time.sleep(0.05)
    assert len(done) == count < 1000
