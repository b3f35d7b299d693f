import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from kept.bucket.local import LocalBucket
from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged, DamageWarning, InvalidMetadata, KeptError, KeyExists, NotDurable
from kept.store.encoding import seal
from kept.store.log.events import Fault
from kept.store.log.log import Logs
from kept.store.log.pages import BIG_PAGE, PAGE
from tests.helpers import Wrapped

CHANGE = {"event": "alias", "aliases": {}}


class Counting(Wrapped):
    def __init__(self, inner):
        super().__init__(inner)
        self.gets = self.lists = 0

    def get(self, *args):
        self.gets += 1
        return self.inner.get(*args)

    def names(self, *args):
        self.lists += 1
        return self.inner.names(*args)


@pytest.fixture
def bucket():
    return MemoryBucket()


def fill(bucket, count):
    log = Logs(bucket).of("m")
    for n in range(count):
        log.append({**CHANGE, "n": n})
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
    log = Logs(bucket).of("m")
    assert log.view().head == 0
    assert numbers(log) == []
    assert list(bucket.keys("")) == []


def test_append_commits_one_record(bucket):
    log = Logs(bucket).of("m")
    event = log.append_after(view := log.view(), {**CHANGE, "seen": 0})
    assert view.head == 0
    assert list(bucket.keys("")) == ["artifacts/m/log/00000000000000000001.json"]
    assert event.keys() == {
        "event", "aliases", "seen", "number", "time", "write_id", "artifact", "previous",
    }  # fmt: skip
    assert (event["artifact"], event["previous"]) == ("m", None)
    assert list(Logs(bucket).of("m").view().backwards()) == [event]
    assert len(event["write_id"]) == 32
    assert event["time"].endswith("Z")


def test_every_length_reads_the_same(bucket, small_pages):
    writers = [Logs(bucket).of("m") for _ in range(3)]
    old = Logs(bucket).of("m")
    for n in range(1, 71):
        append_seen(writers[n % 3 if n < 40 else 0], "n", CHANGE)
        fresh = Logs(bucket).of("m").view()
        assert [(e["number"], e["n"]) for e in fresh.backwards()] == [
            (k, k - 1) for k in down_from(n)
        ]
        assert numbers(old) == numbers(writers[0]) == down_from(n)
    # The pages under a big one are gone; a reader finds the big one.
    assert list(Logs(bucket).of("m").pages.numbers()) == [16, 32, 48, 64, 68]


def test_a_page_is_due_when_its_last_record_is(bucket):
    fill(bucket, 63)
    assert list(Logs(bucket).of("m").pages.numbers()) == []
    fill(bucket, 2)
    [page] = Logs(bucket).of("m").pages.numbers()
    assert page == PAGE == 64
    assert len(Logs(bucket).of("m").pages.read(64)) == 64
    assert BIG_PAGE % PAGE == 0


def test_the_newest_event_costs_a_page_at_most(bucket, small_pages):
    log = Logs(bucket).of("m")
    for _ in range(40):
        log.append(CHANGE)
        counting = Counting(bucket)
        next(Logs(counting).of("m").view().backwards())
        assert counting.gets <= 4 + 1


def test_a_log_that_is_kept_reads_what_is_new_only(bucket):
    counting = Counting(bucket)
    log = fill(counting, 30)
    counting.gets = counting.lists = 0
    log.view()
    assert (counting.gets, counting.lists) == (0, 1)


@pytest.mark.parametrize(
    "harm",
    [
        None,
        lambda _: b"",
        lambda page: page[:-1],
        lambda page: page.replace(b"alias", b"alisa"),
        lambda _: seal([]),
        lambda _: seal({}),
        lambda _: seal({"events": {}}),
        lambda _: seal({"events": [1, 2, 3, 4]}),
        lambda _: seal({"events": [{"number": n} for n in range(1, 5)]}),
    ],
)
def test_pages_may_be_lost(bucket, small_pages, harm):
    fill(bucket, 39)
    for page in [*Logs(bucket).of("m").pages.numbers()]:
        key = Logs(bucket).of("m").pages.key(page)
        before = bucket.get(key)
        if harm is None:
            bucket.delete(key)
        else:
            bucket.put(key, [harm(before)])
        assert numbers(Logs(bucket).of("m")) == down_from(39)
        bucket.put(key, [before])
    for page in [*Logs(bucket).of("m").pages.numbers()]:
        bucket.delete(Logs(bucket).of("m").pages.key(page))
    assert numbers(Logs(bucket).of("m")) == down_from(39)


def test_pages_suffice_to_find_old_events(bucket, small_pages):
    # Pages are a cache, but one that is whole is believed: that is what makes reading cheap.
    fill(bucket, 33)
    counting = Counting(bucket)
    assert numbers(Logs(counting).of("m")) == down_from(33)
    assert counting.gets == 2 + 1  # two pages, and record 33


@pytest.mark.parametrize("number", [1, 5, 7])
def test_damaged_and_missing_records_are_named(bucket, number):
    log = fill(bucket, 7)
    key = log.records.key(number)
    good = bucket.get(key)
    damages = [
        b"",
        good[:-1],
        good.replace(b"alias", b"alisa"),
        bytes(len(good)),
        bucket.get(log.records.key(2)),
    ]
    for damaged in damages:
        bucket.put(key, [damaged])
        with pytest.raises(Damaged, match=key):
            numbers(Logs(bucket).of("m"))
    bucket.delete(key)
    with pytest.raises(Damaged, match=f"{key} is missing"):
        Logs(bucket).of("m").records.read(number)


def test_a_page_that_cannot_be_written_undoes_no_commit(bucket, small_pages):
    class Full(Wrapped):
        def put_if_absent(self, key, parts):
            if "/state/" in key:
                raise OSError(28, "No space left on device")
            self.inner.put_if_absent(key, parts)

    log = Logs(Full(bucket)).of("m")
    for n in range(1, 10):
        assert log.append(CHANGE)["number"] == n
    assert numbers(log) == numbers(Logs(bucket).of("m")) == down_from(9)


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
    log = Logs(Doubtful(bucket, stores=stores)).of("m")
    for n in range(9):
        assert log.append_after(log.view(), {**CHANGE, "n": n}) is not None  # at once
    assert [event["n"] for event in Logs(bucket).of("m").view().backwards()] == list(
        range(8, -1, -1)
    )


def test_a_bucket_that_never_stores_is_an_error_and_no_endless_loop(bucket, no_waiting):
    log = Logs(Doubtful(bucket, stores=False, times=1000)).of("m")
    with pytest.raises(KeptError, match="can neither be created nor read"):
        log.append(CHANGE)


def test_the_record_of_another_writer_is_folded_first(bucket):
    class Overtaken(Wrapped):
        def put_if_absent(self, key, parts):
            if not list(self.inner.keys("")):
                fill(self.inner, 2)
            self.inner.put_if_absent(key, parts)

    seen, log = [], Logs(Overtaken(bucket)).of("m")
    for view in log.views():
        seen.append(view.head)
        if event := log.append_after(view, CHANGE):
            break
    assert seen == [0, 2]
    assert event["number"] == 3


def test_the_loser_may_find_that_there_is_nothing_left_to_do(bucket):
    class Overtaken(Wrapped):
        def put_if_absent(self, key, parts):
            fill(self.inner, 1)
            self.inner.put_if_absent(key, parts)

    log = Logs(Overtaken(bucket)).of("m")
    for view in log.views():
        if view.head:
            break  # another writer was faster, and nothing is left to do
        assert log.append_after(view, CHANGE) is None
    assert numbers(Logs(bucket).of("m")) == [1]


@pytest.mark.parametrize("shared", [True, False])
def test_racing_writers_leave_no_gap_and_no_double(bucket, small_pages, shared):
    one = Logs(bucket).of("m")
    barrier = threading.Barrier(6)

    def work(writer):
        log = one if shared else Logs(bucket).of("m")
        barrier.wait()
        for n in range(20):
            append_seen(log, "seen", {**CHANGE, "who": [writer, n]})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    events = list(Logs(bucket).of("m").view().backwards())
    assert [event["number"] for event in events] == down_from(120)
    assert all(event["seen"] == event["number"] - 1 for event in events)
    assert Counter(tuple(event["who"]) for event in events).most_common(1)[0][1] == 1
    assert [n for n in Logs(bucket).of("m").pages.numbers() if n % 16 == 0] == [
        16 * n for n in range(1, 8)
    ]


@pytest.mark.parametrize("number", [3, 5])
def test_a_folder_in_the_place_of_a_record_is_a_fault(tmp_path, number):
    log = fill(LocalBucket(tmp_path), 5)
    path = tmp_path / log.records.key(number)
    path.unlink()
    path.mkdir()
    view = Logs(LocalBucket(tmp_path)).of("m").view()
    assert [item.number for item in view.items() if isinstance(item, Fault)] == [number]
    with pytest.raises(Damaged, match="a folder"):
        Logs(LocalBucket(tmp_path)).of("m").append(CHANGE)


def test_a_record_of_too_many_values_is_refused_before_it_is_parsed(bucket):
    with pytest.raises(InvalidMetadata, match="A record has at most"):
        fill(bucket, 1).append(CHANGE | {"metadata": {"a": [{} for _ in range(800_000)]}})
    log = fill(bucket, 1)
    key = log.records.key(2)
    bucket.put(key, [seal(log.records.read(2) | {"metadata": {"a": [{}] * 800_000}})])
    with pytest.raises(Damaged, match="hold too many values"):
        Logs(bucket).of("m").records.read(2)


def test_a_record_that_is_stored_is_committed_even_if_the_disk_fails_from_then_on(bucket):
    class Failing(Wrapped):
        is_failing = False

        def put_if_absent(self, key, parts):
            self.inner.put_if_absent(key, parts)
            self.is_failing = True
            raise NotDurable(28, "No space left on device", key)

        def get(self, *args):
            if self.is_failing:
                raise Damaged("cannot be read: No space left on device")
            return self.inner.get(*args)

    with pytest.warns(DamageWarning, match="is committed, but the disk reported an error"):
        assert Logs(Failing(bucket)).of("m").append(CHANGE)["number"] == 1
    assert numbers(Logs(bucket).of("m")) == [1]


@pytest.mark.parametrize("known", [0, 3, PAGE + 3])
def test_a_list_that_stays_old_stops_no_writer(bucket, known):
    """An endless loop once."""

    class Old(Wrapped):
        def names(self, prefix, after=""):
            found = self.inner.names(prefix, after)
            return (name for name in found if f"{prefix}{name}" in before)

    fill(bucket, known)
    before = set(bucket.keys(""))
    log, other = Logs(Old(bucket)).of("m"), Logs(bucket).of("m")
    assert log.view().head == known
    for _ in range(3):
        other.append(CHANGE)
    assert log.append(CHANGE)["number"] == known + 4
    assert log.append(CHANGE)["number"] == known + 5
    other.append(CHANGE)
    assert log.append(CHANGE)["number"] == known + 7
    assert [event["number"] for event in other.view().backwards()] == [*range(known + 7, 0, -1)]


def test_two_that_copy_an_event_differently_do_not_take_each_others_record_for_their_own(bucket):
    one, other = Logs(bucket).of("m"), Logs(bucket).of("m")
    copied = CHANGE | {"write_id": "0" * 32, "time": "2026-01-01T00:00:00Z"}
    first, second = one.view(), other.view()
    assert one.append_after(first, copied | {"aliases": {"a": None}}) is not None
    assert other.append_after(second, copied) is None
    assert other.append_after(second, copied | {"aliases": {"a": None}}) is not None, "a retry"
    other.append(CHANGE)
    assert [event["number"] for event in Logs(bucket).of("m").view().backwards()] == [2, 1]
