import errno
import fcntl
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time

import pytest

from kept.bucket import file_io, local
from kept.bucket.local import LocalBucket
from kept.errors import KeyExists
from tests.bucket.bucket_contract import BucketContract
from tests.bucket.power_cut import PowerCut
from tests.helpers import finish, start

linux = pytest.mark.skipif(sys.platform != "linux", reason="watches Linux's calls")


def no_hard_links(*_, **__):
    raise OSError(errno.EPERM, "Operation not permitted")


class TestLocalBucket(BucketContract):
    @pytest.fixture
    def bucket(self, tmp_path):
        return LocalBucket(tmp_path / "new" / "bucket")


class TestWithoutHardLinks(BucketContract):
    @pytest.fixture
    def bucket(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "link", no_hard_links)
        return LocalBucket(tmp_path)


@pytest.fixture
def bucket(tmp_path):
    return LocalBucket(tmp_path / "bucket")


def put(bucket, key, parts):
    bucket.put(key, parts)


def put_many(bucket, key, parts):
    bucket.put_many([(key, parts)])


def put_if_absent(bucket, key, parts):
    bucket.put_if_absent(key, parts)


every_put = pytest.mark.parametrize("store", [put, put_many, put_if_absent])


def leftovers(bucket):
    return sorted(set(os.listdir(os.path.join(bucket.root, "tmp"))) - {"lock", "reserve"})


def test_another_object_at_its_location_sees_the_same(bucket):
    bucket.put("a/b", [b"x"])
    assert LocalBucket(bucket.location).get("a/b") == b"x"


def test_reading_makes_nothing(bucket):
    assert list(bucket.keys("")) == []
    assert bucket.size("a") is None
    bucket.delete("a")
    assert not os.path.exists(bucket.root)


# --- failing writes -------------------------------------------------------------------------------


@every_put
@pytest.mark.parametrize(("call", "code"), [("writev", errno.ENOSPC), ("fsync", errno.EIO)])
def test_a_failing_write_leaves_nothing(bucket, monkeypatch, store, call, code):
    bucket.put("other", [b"before"])
    failed = []

    def fail(descriptor, *_):
        failed.append(descriptor)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        store(bucket, "k", [b"value"])
    assert len(failed) == 1  # above all, a failed fsync is not tried again
    assert list(bucket.keys("")) == ["other"]
    assert leftovers(bucket) == []


@every_put
def test_a_value_that_fails_halfway_does_not_replace(bucket, monkeypatch, store):
    real, calls = os.writev, []

    def half(descriptor, views):
        calls.append(len(views))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, [views[0][:3]])

    if store is not put_if_absent:
        bucket.put("k", [b"good"])
    monkeypatch.setattr(os, "writev", half)
    with pytest.raises(OSError, match="No space"):
        store(bucket, "k", [b"another value"])
    assert bucket.size("k") == (None if store is put_if_absent else 4)
    assert leftovers(bucket) == []


def test_short_writes_are_continued(bucket, monkeypatch):
    real = os.writev

    def short(descriptor, views):
        return real(descriptor, [b"".join(views)[:7]])

    monkeypatch.setattr(os, "writev", short)
    parts = [b"12345", b"", b"67", b"x" * 100, b"890"]
    bucket.put("k", parts)
    assert bucket.get("k") == b"".join(parts)


def test_short_reads_are_continued(bucket, monkeypatch):
    bucket.put("k", [bytes(range(100))])
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, at: real(fd, min(length, 7), at))
    assert bucket.get("k") == bytes(range(100))
    assert bucket.get("k", 20, 50) == bytes(range(20, 70))


@pytest.mark.parametrize("slow", [False, True])
def test_put_many_stops_on_the_first_error(bucket, monkeypatch, slow):
    real, taken, others_passed = os.writev, [], threading.Event()

    def write(descriptor, views):
        if bytes(views[0]) == b"bad":
            assert not slow or others_passed.wait(30)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, views)

    def items():
        for n in range(2000):
            taken.append(n)
            if n == 12:
                others_passed.set()
            yield f"k{n}", [b"good" if n else b"bad"]

    monkeypatch.setattr(os, "writev", write)
    with pytest.raises(OSError, match="No space"):
        bucket.put_many(items())
    assert len(taken) < 1000
    assert leftovers(bucket) == []


@pytest.mark.parametrize("available", [0, 2])
def test_put_many_needs_no_threads(bucket, monkeypatch, available):
    """None can be started where a process has too many, or when the interpreter exits."""
    real, started = threading.Thread.start, []

    def limited(thread):
        if len(started) == available:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    bucket.put_many((f"k{n}", [b"%d" % n]) for n in range(50))
    assert len(list(bucket.keys(""))) == 50
    assert not any(thread.is_alive() for thread in started)


# --- order of calls, and power cuts ---------------------------------------------------------------


@linux
@every_put
def test_bytes_then_name_then_folder(bucket, monkeypatch, store):
    watch = PowerCut(monkeypatch, bucket.root)
    store(bucket, "a/b/k", [b"value"])
    a, b = f"{bucket.root}/a", f"{bucket.root}/a/b"
    calls = watch.calls
    made = [path for call, path in calls if call == "mkdir"]
    assert {bucket.root, a, b} <= set(made)
    for path in made:
        assert ("fsync folder", os.path.dirname(path)) in calls[calls.index(("mkdir", path)) :]
    named = calls.index(("name", f"{b}/k"))
    assert calls.index(("fsync file", "")) < named
    assert calls[named + 1 :] == [("fsync folder", b)]


@linux
@pytest.mark.parametrize("links", [True, False])
def test_whatever_was_put_outlives_a_power_cut(bucket, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_hard_links)
    watch = PowerCut(monkeypatch, bucket.root)
    states = []
    watch.on_step = lambda: states.append(watch.eager())
    expected = {"kept.json": b"{}", "a/1": b"one", "a/b/2": b"t" * 9000, "c/3": b""}
    bucket.put("kept.json", [b"{}"])
    assert watch.lazy() == {"kept.json": b"{}"}
    bucket.put_many([("a/1", [b"one"]), ("a/b/2", [b"t" * 9000])])
    bucket.put_if_absent("c/3", [])
    assert watch.lazy() == watch.eager() == expected
    bucket.put("a/1", [b"replaced"])
    assert watch.lazy() == expected | {"a/1": b"replaced"}
    for state in states:  # no name without its bytes, at any moment
        assert state.items() <= (expected | {"a/1": state.get("a/1")}).items()
        assert state.get("a/1") in (None, b"one", b"replaced")


@linux
@pytest.mark.parametrize("broken", [(file_io, "sync"), (local, "sync_folder")])
def test_the_power_cut_catches_a_writer_that_does_not_sync(bucket, monkeypatch, broken):
    monkeypatch.setattr(*broken, lambda _: None)
    watch = PowerCut(monkeypatch, bucket.root)
    bucket.put("a/k", [b"value"])
    assert (watch.lazy(), watch.eager()) != ({"a/k": b"value"}, {"a/k": b"value"})


@linux
@pytest.mark.parametrize("folder", ["", "/a", "/a/b", "/a/b/c"])
def test_a_folder_that_another_writer_made_and_did_not_sync(bucket, monkeypatch, folder):
    watch = PowerCut(monkeypatch, bucket.root)
    watched = os.mkdir

    def killed_after(path, *args):
        watched(path, *args)
        if path == bucket.root + folder:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", killed_after)
        with pytest.raises(KeyboardInterrupt):
            LocalBucket(bucket.root).put("a/b/c/first", [b"lost"])
    bucket.put("a/b/c/k", [b"value"])
    assert watch.lazy() == {"a/b/c/k": b"value"}


@linux
def test_put_many_syncs_each_folder_once(bucket, monkeypatch):
    bucket.put_many([(f"{n % 4}/first-{n}", [b"x"]) for n in range(8)])
    watch = PowerCut(monkeypatch, bucket.root)
    bucket.put_many([(f"{n % 4}/{n}", [b"x"]) for n in range(40)])
    folders = [path for call, path in watch.calls if call == "fsync folder"]
    assert sorted(folders) == [f"{bucket.root}/{n}" for n in range(4)]
    assert len(watch.calls) == 40 + 40 + 4  # a sync and a name for each value


def test_a_parent_that_may_be_passed_but_not_opened(bucket, monkeypatch):
    real = os.open

    def guarded(path, *args):
        if path == os.path.dirname(bucket.root):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args)

    monkeypatch.setattr(os, "open", guarded)
    bucket.put("k", [b"value"])
    assert bucket.get("k") == b"value"


# --- without hard links ---------------------------------------------------------------------------


def test_another_error_of_link_is_raised(bucket, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(OSError, match="Input/output"):
        bucket.put_if_absent("k", [b"x"])
    assert list(bucket.keys("")) == leftovers(bucket) == []


RACE = """
import errno, os, sys
from kept.bucket.local import LocalBucket
from kept.errors import KeyExists
def no_link(*_):
    raise OSError(errno.EPERM, "no links here")
if sys.argv[2] == "False":
    os.link = no_link
bucket = LocalBucket(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for n in range(40):
    try:
        bucket.put_if_absent(f"log/{n}", [b"process ", sys.argv[3].encode()])
        print(n)
    except KeyExists:
        pass
"""


@pytest.mark.parametrize("links", [True, False])
def test_exactly_one_of_racing_processes_wins(bucket, links):
    racers = [start(RACE, bucket.root, links, name) for name in range(4)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    wins = {name: finish(racer) for name, racer in enumerate(racers)}
    assert sorted(int(n) for won in wins.values() for n in won) == list(range(40))
    for name, won in wins.items():
        assert all(bucket.get(f"log/{n}") == b"process %d" % name for n in won)


# --- temporary files of killed writers ------------------------------------------------------------


HANGING = """
import os, sys, time
from kept.bucket.local import LocalBucket
def hang(*_):
    print("writing", flush=True)
    time.sleep(600)
os.fsync_, os.fsync = os.fsync, lambda fd: hang() if not os.path.isdir(f"/dev/fd/{fd}") else None
LocalBucket(sys.argv[1]).put("k", [b"half of it"])
"""


def age(path):
    os.utime(path, (time.time() - 3600,) * 2)


def test_files_of_dead_writers_are_swept_and_of_living_ones_not(bucket):
    writer = start(HANGING, bucket.root)
    try:
        assert writer.stdout.readline() == "writing\n"
        [name] = leftovers(bucket)
        path = os.path.join(bucket.root, "tmp", name)
        age(path)
        LocalBucket(bucket.root).put("a", [b"x"])
        assert leftovers(bucket) == [name]  # it still writes, however long that takes
        assert list(bucket.keys("")) == ["a"]
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    os.utime(path)
    LocalBucket(bucket.root).put("b", [b"x"])
    assert leftovers(bucket) == [name]  # young: it might not have taken its lock yet
    age(path)
    LocalBucket(bucket.root).put("c", [b"x"])
    assert leftovers(bucket) == []
    assert list(bucket.keys("")) == ["a", "b", "c"]


def test_only_its_own_files_are_swept(bucket):
    bucket.put("k", [b"x"])
    for name in ("notes.txt", "put-dead"):
        path = os.path.join(bucket.root, "tmp", name)
        with open(path, "w"):
            age(path)
    LocalBucket(bucket.root).put("l", [b"x"])
    assert leftovers(bucket) == ["notes.txt"]


def test_no_locks_no_sweep(bucket, monkeypatch):
    bucket.put("k", [b"x"])
    path = os.path.join(bucket.root, "tmp", "put-of-somebody")
    with open(path, "w"):
        age(path)

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    LocalBucket(bucket.root).put("l", [b"x"])
    assert leftovers(bucket) == ["put-of-somebody"]
    assert bucket.get("l") == b"x"


def test_a_process_forked_while_a_lock_is_held_does_not_hold_it(bucket):
    """A data loader's worker, say: for as long as it lived no gc came to an end."""
    context = multiprocessing.get_context("fork")
    end = context.Event()
    with bucket.locked("a"):
        worker = context.Process(target=end.wait, args=(60,))
        worker.start()
    with bucket.locked("a") as held:
        assert held
    end.set()
    worker.join(60)
    assert worker.exitcode == 0


@pytest.mark.parametrize("put", [LocalBucket.put, LocalBucket.put_if_absent])
def test_a_folder_that_another_process_removed_is_made_again(bucket, put):
    put(bucket, "a/b/1", [b"x"])
    shutil.rmtree(os.path.join(bucket.root, "a"))
    put(bucket, "a/b/2", [b"x"])
    assert list(bucket.keys("")) == ["a/b/2"]


def test_works_after_a_fork(bucket):
    bucket.put("before", [b"x"])

    def child(number):
        for n in range(20):
            bucket.put(f"child-{number}/{n}", [b"child"])

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(number,)) for number in range(2)]
    for process in children:
        process.start()
    for n in range(20):
        bucket.put(f"parent/{n}", [b"parent"])
    for process in children:
        process.join(60)
    assert [process.exitcode for process in children] == [0, 0]
    assert len(list(bucket.keys(""))) == 61
    with pytest.raises(KeyExists):
        bucket.put_if_absent("child-0/3", [b"x"])
    assert leftovers(bucket) == []
