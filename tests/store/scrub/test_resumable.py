"""A check that was interrupted continues, whatever happened to the store and to the bookmark."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import kept
from kept.store.scrub import content, resumable
from tests.helpers import Wrapped, start, tree, write

COUNT = 8


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache folder; every check gets a bookmark, written after each blob."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "LONG", 0)
    monkeypatch.setattr(resumable, "_PAUSE", 0)
    return tmp_path / "cache" / "kept"


@pytest.fixture
def store(tmp_path, file):
    """A folder with as many blobs as versions."""
    store = kept.open_store(tmp_path / "store")
    for n in range(COUNT):
        store.log_artifact("m", file(b"%d" % n * 1000))
    return store


def key_of(store, index):
    [chunk] = store[f"m:v{index}"].manifest.chunks()
    return f"blobs/{chunk.blob[:2]}/{chunk.blob}"


def interrupt(store, after=3, **options):
    """Check a store, and press Ctrl-C after some blobs; return the note on how to continue."""
    done = 0

    def press(*_):
        nonlocal done
        done += 1
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        store.verify(progress=press, **options)
    return getattr(caught.value, "__notes__", [])


def test_it_reads_the_rest(cache, store):
    [note] = interrupt(store)
    assert note == (
        "3 of 8 blobs are read. The same check with resume, or --resume, continues there."
    )
    before = tree(Path(store.location))
    report = store.verify(resume=True)
    assert (report.ok, report.blobs, report.skipped, report.all_blobs) == (True, 5, 3, 8)
    assert report.continues is not None
    assert tree(Path(store.location)) == before  # nothing of it is in the store
    assert list(cache.iterdir()) == []  # done
    assert store.verify(resume=True).skipped == 0


def test_it_can_be_interrupted_again(cache, store):
    interrupt(store)
    [note] = interrupt(store, after=2, resume=True)
    assert note.startswith("5 of 8 blobs")
    assert store.verify(resume=True).skipped == 5


def test_without_resume_it_begins_again(cache, store):
    interrupt(store)
    assert (store.verify().blobs, store.verify(resume=True).skipped) == (8, 0)


def test_another_check_has_another_bookmark(cache, store):
    interrupt(store)
    assert store.verify("m:v1", resume=True).skipped == 0
    assert store.verify(sample=0.5, resume=True).skipped == 0
    assert store.verify(newer_than="1h", resume=True).skipped == 0
    assert store.verify(resume=True).skipped == 3


def test_a_sample_stays_the_same(cache, store):
    interrupt(store, sample=0.5)
    report = store.verify(sample=0.5, resume=True)
    assert (report.blobs, report.skipped, report.all_blobs) == (1, 3, 8)


def test_damage_that_was_found_is_found_again(cache, store):
    for index in range(COUNT):
        write(store_path(store, key_of(store, index)), b"?")
    interrupt(store)
    report = store.verify(resume=True)
    assert (len(report.problems), report.skipped) == (8, 0)


def store_path(store, key):
    return Path(store.location) / key


@pytest.mark.parametrize("change", ["stored again", "deleted", "cut short"])
def test_a_blob_that_changed_since_is_read_again(cache, store, change):
    keys = sorted(key_of(store, index) for index in range(COUNT))
    interrupt(store)
    path = store_path(store, keys[0])
    data = path.read_bytes()
    if change == "stored again":
        os.utime(write(path, data[:-1] + b"?"), ns=(time.time_ns(), time.time_ns() + 10**9))
    elif change == "deleted":
        path.unlink()
    else:
        times = path.stat()
        write(path, data[:-1])
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    report = store.verify(resume=True)
    assert [p.key for p in report.problems] == [keys[0]]
    assert report.skipped == 2


def test_new_versions_are_read(cache, store, file):
    interrupt(store)
    store.log_artifact("m", file(b"new" * 1000))
    report = store.verify(resume=True)
    assert (report.blobs, report.skipped) == (6, 3)


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[:50],
        lambda data: data[:-5],
        lambda data: b"{}" + data[2:],
        lambda data: b"[" * 128 + data[128:],
        lambda data: data.replace(b'"seed": "', b'"seed": "x', 1),
        lambda data: os.urandom(len(data)),
        lambda data: data[:128] + os.urandom(48),
    ],
)
def test_a_damaged_bookmark_hides_nothing(cache, store, harm):
    keys = sorted(key_of(store, index) for index in range(COUNT))
    interrupt(store)
    [bookmark] = cache.iterdir()
    bookmark.write_bytes(harm(bookmark.read_bytes()))
    write(store_path(store, keys[-1]), b"?")  # read after the interruption
    report = store.verify(resume=True)
    assert [p.key for p in report.problems] == [keys[-1]]
    assert report.skipped + report.blobs == 8
    assert report.skipped <= 3


def test_marks_after_one_that_was_cut_off_count(cache, store):
    interrupt(store)
    [bookmark] = cache.iterdir()
    bookmark.write_bytes(bookmark.read_bytes() + b"half a")
    interrupt(store, after=2, resume=True)
    assert store.verify(resume=True).skipped == 5


def test_a_bookmark_of_last_month_is_forgotten(cache, store):
    interrupt(store)
    [bookmark] = cache.iterdir()
    os.utime(bookmark, (0, time.time() - 31 * 86400))
    report = store.verify(resume=True)
    assert (report.skipped, report.continues) == (0, None)
    write(cache / "verify-of-another", b"")
    os.utime(cache / "verify-of-another", (0, 0))
    write(cache / "what else", b"")
    os.utime(cache / "what else", (0, 0))
    store.verify()
    assert [path.name for path in cache.iterdir()] == ["what else"]


def test_without_a_cache_folder_the_check_works(cache, store, monkeypatch):
    write(cache.parent, b"a file in the way")
    assert interrupt(store) == []
    assert store.verify(resume=True).blobs == 8


def test_a_short_check_has_no_bookmark(cache, store, monkeypatch):
    monkeypatch.setattr(content, "LONG", 0.1)
    assert interrupt(store) == []
    assert not cache.exists()
    interrupt(store, limit_rate=30_000)  # a slow one has
    assert len(list(cache.iterdir())) == 1


def test_a_second_check_beside_it_does_no_harm(cache, store):
    interrupt(store)
    inner, other = store.bucket, kept.open_store(store.location)

    class Beside(Wrapped):
        begun = False

        def get(self, key, *args):
            if key.startswith("blobs/") and not self.begun:
                self.begun = True
                assert other.verify().ok  # replaces the bookmark, and removes it at its end
            return inner.get(key, *args)

    report = kept.Store(Beside(inner)).verify(resume=True)
    assert (report.ok, report.skipped) == (True, 3)
    assert list(cache.iterdir()) == []


def test_the_end_of_a_check_leaves_the_bookmark_of_another(cache, store):
    inner, other = store.bucket, kept.open_store(store.location)

    class Beside(Wrapped):
        begun = False

        def get(self, key, *args):
            if key.startswith("blobs/") and not self.begun:
                self.begun = True
                interrupt(other)
            return inner.get(key, *args)

    assert kept.Store(Beside(inner)).verify().ok
    assert store.verify(resume=True).skipped == 3


CHILD = """
import sys, time
import kept
from kept.store.scrub import content, resumable
content.LONG = resumable._PAUSE = 0

def slowly(done, total):
    print(done, flush=True)
    if done >= 4000:
        time.sleep(600)

kept.open_store(sys.argv[1]).verify(progress=slowly)
"""


def test_a_killed_check_continues(cache, store):
    child = start(CHILD, store.location)
    while child.line().strip() != "4000":
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    report = store.verify(resume=True)
    assert (report.ok, report.skipped, report.blobs) == (True, 4, 4)
