"""The pauses of a courier between attempts, and the message of the first failure."""

from __future__ import annotations

import threading
import time

import pytest

from kept.errors import InvalidInput, StoreReplaced, Unreachable
from kept.sync import courier as courier_module
from kept.sync.courier import Courier, Words

WORDS = Words("the mirror there", "here", "later")


class Sender:
    """Fails with the given errors, one after the other; None is a success."""

    def __init__(self, *errors):
        self.errors, self.sent = list(errors), []

    def send(self, what):
        self.sent.append(what)
        if error := self.errors.pop(0):
            raise error


@pytest.fixture
def pauses(monkeypatch):
    """Collect how long couriers would pause; none does."""
    monkeypatch.setattr(courier_module, "_FIRST_PAUSE", 2.0)
    monkeypatch.setattr(courier_module, "_LONGEST_PAUSE", 10.0)
    asked, wait_for = [], threading.Condition.wait_for

    def record(self, predicate, timeout=None):
        if threading.current_thread().name != "kept-courier":
            return wait_for(self, predicate, timeout)
        asked.append(timeout)
        return predicate()

    monkeypatch.setattr(threading.Condition, "wait_for", record)
    return asked


def sent_by(sender, *keys):
    courier = Courier(sender, WORDS)
    courier.wake(*keys)
    while courier.pending:
        courier.wait(60)
    return courier


def test_the_pause_doubles_up_to_the_longest_and_begins_again_after_a_success(pauses, shown):
    away = Unreachable("away")
    sender = Sender(away, away, away, away, away, None, away, away, None)
    sent_by(sender, "a", "b")
    assert pauses == [2.0, 4.0, 8.0, 10.0, 10.0, 2.0, 4.0]


def test_what_waiting_does_not_mend_is_not_tried_again(pauses, shown):
    sender = Sender(InvalidInput("wrong"), None)
    courier = sent_by(sender, "a", "b")
    assert sender.sent == ["a", "b"]
    assert pauses == []
    assert not courier.fails


def test_the_first_failure_is_shown_once(pauses, shown):
    sent_by(Sender(Unreachable("away"), Unreachable("away"), None), "a")
    [text] = shown
    assert "the mirror there" in text
    assert "here: away" in text


def test_waiting_ends_only_when_nothing_is_sent_any_longer(shown):
    """After a lasting failure the courier continues at once: an attempt of it holds the outbox."""

    class Emptied:
        ended = 0

        def send(self, what):
            if not self.ended:
                courier.wake(what)
            time.sleep(0.05)
            self.ended += 1
            raise StoreReplaced("was emptied")

    sender = Emptied()
    courier = Courier(sender, WORDS)
    courier.wake("a")
    assert courier.wait(60)
    assert (sender.ended, courier.pending) == (2, False)


def test_a_lasting_failure_after_a_success_is_shown_again(shown):
    again = StoreReplaced("was emptied")
    courier = sent_by(Sender(again, None, again), "a")
    for _ in range(2):
        courier.wake("a")
        courier.wait(60)
    assert len(shown) == 2


def test_an_end_of_a_fit_says_again_what_it_waits_for(shown, monkeypatch):
    monkeypatch.setattr(courier_module, "_ROUND", 0.05)
    over = threading.Event()

    class Slow:
        def send(self, what):
            over.wait(30)

    waits = Courier(Slow(), WORDS)
    waits.wake("m")
    waits.finish(0.3)
    over.set()
    assert sum("waiting for the mirror there (" in line for line in shown) >= 2
    assert "not everything is in the mirror there yet" in shown[-1]


def test_silent_places_are_waited_for_at_the_same_time(shown, monkeypatch):
    monkeypatch.setattr(courier_module, "PATIENCE", 0.4)
    monkeypatch.setattr(courier_module, "NOTICE_SECONDS", 0.1)
    over, asked = threading.Event(), []

    class Silent:
        def send(self, what):
            over.wait(30)

    def answers(bucket, seconds):
        asked.append(seconds)
        at_once.wait(30)
        return False

    monkeypatch.setattr(courier_module, "answers", answers)
    couriers = [Courier(Silent(), WORDS, buckets=[None]) for _ in range(6)]
    for each in couriers:
        each.wake("m")
    at_once = threading.Barrier(len(couriers))
    courier_module.finish_all(couriers)
    over.set()
    assert asked == pytest.approx([0.3] * 6)
    assert sum("yet (it does not answer)" in line for line in shown) == 6


@pytest.mark.parametrize("has_finished", [False, True])
def test_the_end_of_a_process_says_once_what_is_left(shown, monkeypatch, has_finished):
    """After an exception in a fit nothing else does."""
    courier = sent_by(Sender(StoreReplaced("another store")), "a")
    monkeypatch.setattr(courier_module, "_couriers", {courier})
    if has_finished:
        courier.finish(0.1)
    shown.clear()
    for _ in range(2):
        courier_module._exit()
    said = "kept: not everything is in the mirror there yet (another store). Safe in here; later"
    assert shown == ([] if has_finished else [said])
