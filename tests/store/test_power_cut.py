"""A power cut after any call of a writer: committed versions exist, and existing ones are whole."""

import os
import sys

import pytest

import kept
from kept.bucket import file_io, local
from kept.bucket.local import LocalBucket
from kept.bucket.memory import MemoryBucket
from kept.errors import Unreadable
from tests.bucket.power_cut import PowerCut
from tests.helpers import arrays, hdf5, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches Linux's calls")


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """The blob of 1.1 MB passes the kernel's cache by, as those of large tensors do."""
    monkeypatch.setattr(file_io, "_LARGE", 1_000_000)


def reopened(files):
    bucket = MemoryBucket()
    for key, value in files.items():
        bucket.put(key, [value])
    return kept.Store(bucket)


def run_and_cut(tmp_path, monkeypatch):
    """Log versions and move aliases; after each call look at what two kinds of disk would keep."""
    watch = PowerCut(monkeypatch, str(tmp_path / "s"))
    done: list[str] = []
    states = []
    watch.on_step = lambda: states.append((list(done), watch.lazy(), watch.eager()))
    store = kept.Store(LocalBucket(tmp_path / "s"))
    for n in range(6):
        data = hdf5(arrays(1, base=1_100_000) | arrays(n, head=50_000, tiny=300))
        version = store.log_artifact("m", write(tmp_path / "f.h5", data), aliases=["best"])
        done.append(version.reference)
    store.set_alias("m:v0", "best")
    watch.on_step()
    return states


def check(states):
    seen = set()
    for done, *disks in states:
        for files in disks:
            content = hash(frozenset(files.items()))
            if (content, len(done)) in seen:
                continue
            seen.add((content, len(done)))
            store = reopened(files)
            assert store.verify().problems == []
            there = [v.reference for a in store.artifacts() for v in a.versions()]
            assert there[: len(done)] == done
            assert len(there) <= len(done) + 1
    return store, len(seen)


def test_every_moment_is_a_good_one(tmp_path, monkeypatch, small_pages):
    store, moments = check(run_and_cut(tmp_path, monkeypatch))
    assert moments > 20
    assert store["m:best"].index == 0


@pytest.mark.parametrize("broken", [(file_io, "sync"), (local, "sync_folder")])
def test_a_writer_that_does_not_sync_is_caught(tmp_path, monkeypatch, broken):
    monkeypatch.setattr(*broken, lambda _: None)
    with pytest.raises((AssertionError, kept.KeptError)):
        check(run_and_cut(tmp_path, monkeypatch))


@pytest.mark.parametrize("call", ["fsync", "link", "replace", "mkdir", "writev", "pwrite", "open"])
def test_an_error_of_any_call_makes_no_half_version(tmp_path, monkeypatch, call):
    """The n-th call of a kind fails, for every n; after it the same process continues."""
    source = write(tmp_path / "f.h5", hdf5(arrays(1, base=1_100_000, head=50_000)))
    real, countdown = getattr(os, call), [-1]

    def failing(path, *args, **options):
        ours = not isinstance(path, str) or path.startswith(str(tmp_path / "s"))
        countdown[0] -= ours
        if ours and countdown[0] == -1:
            raise OSError(5, "Input/output error")
        return real(path, *args, **options)

    for n in range(100):
        root = tmp_path / f"s{n}"
        store = kept.Store(LocalBucket(root))
        countdown[0] = n
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            try:
                store.log_artifact("m", source, aliases=["best"])
                failed = False
            except (OSError, Unreadable):
                failed = True
        assert kept.open_store(root).verify().ok
        assert store.log_artifact("m", source, aliases=["best"]).reference == "m:v0"
        assert kept.open_store(root)["m:best"].verify().bytes == source.stat().st_size
        if not failed and countdown[0] >= 0:
            break
    assert 0 < n < 99
