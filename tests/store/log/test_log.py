import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged, KeptError, KeyExists
from kept.store.encoding import seal
from kept.store.log import log as log_module
from kept.store.log.log import Log
from tests.helpers import Wrapped


class Counting(Wrapped):
    def __init__(self, inner):
        super().__init__(inner)
        self.gets = 0

    def get(self, *args):
        self.gets += 1
        return self.inner.get(*args)


@pytest.fixture
def bucket():
    return MemoryBucket()


def fill(bucket, count):
    log = Log(bucket, "m")
    for n in range(count):
        log.append({"event": "test", "n": n})
    return log


def append_seen(log, key, event):
    """Append an event that holds the head of the log that its writer has seen."""
    for view in log.views():
        if log.append_after(view, event | {key: view.head}):
            return


def numbers(log):
    return [event["number"] for event in log.view().backwards()]


def down_from(number):
    return list(range(number, 0, -1))


def test_an_empty_log(bucket):
    log = Log(bucket, "m")
    assert log.view().head == 0
    assert numbers(log) == []
    assert list(bucket.keys("")) == []


def test_append_commits_one_record(bucket):
    log = Log(bucket, "m")
    event = log.append_after(view := log.view(), {"event": "test", "seen": 0})
    assert view.head == 0
    assert list(bucket.keys("")) == ["artifacts/m/log/00000000000000000001.json"]
    assert event.keys() == {"event", "seen", "number", "time", "write_id"}
    assert list(Log(bucket, "m").view().backwards()) == [event]
    assert len(event["write_id"]) == 32
    assert event["time"].endswith("Z")


def test_every_length_reads_the_same(bucket, small_pages):
    writers = [Log(bucket, "m") for _ in range(3)]
    old = Log(bucket, "m")
    for n in range(1, 71):
        append_seen(writers[n % 3 if n < 40 else 0], "n", {"event": "test"})
        fresh = Log(bucket, "m").view()
        assert [(e["number"], e["n"]) for e in fresh.backwards()] == [
            (k, k - 1) for k in down_from(n)
        ]
        assert numbers(old) == numbers(writers[0]) == down_from(n)
    # The pages under a big one are gone; a reader finds the big one.
    assert list(log_module.Log(bucket, "m").pages()) == [16, 32, 48, 64, 68]


def test_a_page_is_due_when_its_last_record_is(bucket):
    fill(bucket, 63)
    assert list(Log(bucket, "m").pages()) == []
    fill(bucket, 2)
    [page] = Log(bucket, "m").pages()
    assert page == log_module.PAGE == 64
    assert len(Log(bucket, "m").read_page(64)) == 64
    assert log_module.BIG_PAGE % log_module.PAGE == 0


def test_the_newest_event_costs_a_page_at_most(bucket, small_pages):
    log = Log(bucket, "m")
    for _ in range(40):
        log.append({"event": "test"})
        counting = Counting(bucket)
        next(Log(counting, "m").view().backwards())
        assert counting.gets <= 4 + 1


def test_a_log_that_is_kept_reads_what_is_new_only(bucket):
    log = fill(bucket, 30)
    counting = log.bucket = Counting(bucket)
    log.view()
    assert counting.gets == 1  # the record after the newest, which is missing


@pytest.mark.parametrize(
    "harm",
    [
        None,
        lambda _: b"",
        lambda page: page[:-1],
        lambda page: page.replace(b"test", b"tset"),
        lambda _: seal([]),
        lambda _: seal({}),
        lambda _: seal({"events": {}}),
        lambda _: seal({"events": [1, 2, 3, 4]}),
        lambda _: seal({"events": [{"number": n} for n in range(1, 5)]}),
    ],
)
def test_pages_may_be_lost(bucket, small_pages, harm):
    fill(bucket, 39)
    for page in [*Log(bucket, "m").pages()]:
        key = Log(bucket, "m").page_key(page)
        before = bucket.get(key)
        if harm is None:
            bucket.delete(key)
        else:
            bucket.put(key, [harm(before)])
        assert numbers(Log(bucket, "m")) == down_from(39)
        bucket.put(key, [before])
    for page in [*Log(bucket, "m").pages()]:
        bucket.delete(Log(bucket, "m").page_key(page))
    assert numbers(Log(bucket, "m")) == down_from(39)


def test_pages_suffice_to_find_old_events(bucket, small_pages):
    # Pages are a cache, but one that is whole is believed: that is what makes reading cheap.
    fill(bucket, 33)
    counting = Counting(bucket)
    assert numbers(Log(counting, "m")) == down_from(33)
    assert counting.gets == 2 + 1 + 1  # two pages, record 33, and 34, which is missing


@pytest.mark.parametrize("number", [1, 5, 7])
def test_damaged_and_missing_records_are_named(bucket, number):
    log = fill(bucket, 7)
    key = log.record_key(number)
    good = bucket.get(key)
    damages = [
        b"",
        good[:-1],
        good.replace(b"test", b"tset"),
        bytes(len(good)),
        bucket.get(log.record_key(2)),
    ]
    for damaged in damages:
        bucket.put(key, [damaged])
        with pytest.raises(Damaged, match=key):
            numbers(Log(bucket, "m"))
    bucket.delete(key)
    with pytest.raises(Damaged, match=f"{key} is missing"):
        Log(bucket, "m").read_record(number)


def test_a_page_that_cannot_be_written_undoes_no_commit(bucket, small_pages):
    class Full(Wrapped):
        def put_if_absent(self, key, parts):
            if "/state/" in key:
                raise OSError(28, "No space left on device")
            self.inner.put_if_absent(key, parts)

    log = Log(Full(bucket), "m")
    for n in range(1, 10):
        assert log.append({"event": "test"})["number"] == n
    assert numbers(log) == numbers(Log(bucket, "m")) == down_from(9)


# --- "exists" is ambiguous ------------------------------------------------------------------------


class Doubtful(Wrapped):
    """Answers "exists" for each record, times times: after it has stored it, or without."""

    def __init__(self, inner, *, stores, times=1):
        super().__init__(inner)
        self.stores, self.times, self.said = stores, times, Counter()

    def put_if_absent(self, key, parts):
        if self.stores or self.said[key] >= self.times:
            self.inner.put_if_absent(key, parts)
        if self.said[key] < self.times:
            self.said[key] += 1
            raise KeyExists(key)


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.mark.parametrize("stores", [True, False])
def test_an_answer_that_was_lost_and_one_that_is_untrue(bucket, small_pages, no_waiting, stores):
    log = Log(Doubtful(bucket, stores=stores), "m")
    for n in range(9):
        assert log.append_after(log.view(), {"event": "test", "n": n}) is not None  # at once
    assert [event["n"] for event in Log(bucket, "m").view().backwards()] == list(range(8, -1, -1))


def test_a_bucket_that_never_stores_is_an_error_and_no_endless_loop(bucket, no_waiting):
    log = Log(Doubtful(bucket, stores=False, times=1000), "m")
    with pytest.raises(KeptError, match="can neither be created nor read"):
        log.append({"event": "test"})


def test_the_record_of_another_writer_is_folded_first(bucket):
    class Overtaken(Wrapped):
        def put_if_absent(self, key, parts):
            if not list(self.inner.keys("")):
                fill(self.inner, 2)
            self.inner.put_if_absent(key, parts)

    seen, log = [], Log(Overtaken(bucket), "m")
    for view in log.views():
        seen.append(view.head)
        if event := log.append_after(view, {"event": "mine"}):
            break
    assert seen == [0, 2]
    assert event["number"] == 3


def test_the_loser_may_find_that_there_is_nothing_left_to_do(bucket):
    class Overtaken(Wrapped):
        def put_if_absent(self, key, parts):
            fill(self.inner, 1)
            self.inner.put_if_absent(key, parts)

    log = Log(Overtaken(bucket), "m")
    for view in log.views():
        if view.head:
            break  # another writer was faster, and nothing is left to do
        assert log.append_after(view, {"event": "x"}) is None
    assert numbers(Log(bucket, "m")) == [1]


@pytest.mark.parametrize("shared", [True, False])
def test_racing_writers_leave_no_gap_and_no_double(bucket, small_pages, shared):
    one = Log(bucket, "m")
    barrier = threading.Barrier(6)

    def work(writer):
        log = one if shared else Log(bucket, "m")
        barrier.wait()
        for n in range(20):
            append_seen(log, "seen", {"event": "test", "who": [writer, n]})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    events = list(Log(bucket, "m").view().backwards())
    assert [event["number"] for event in events] == down_from(120)
    assert all(event["seen"] == event["number"] - 1 for event in events)
    assert Counter(tuple(event["who"]) for event in events).most_common(1)[0][1] == 1
    assert [n for n in Log(bucket, "m").pages() if n % 16 == 0] == [16 * n for n in range(1, 8)]
