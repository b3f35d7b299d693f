"""Setting a damaged blob aside, and what writers make of that."""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged, Unreadable
from kept.store.blobs.blob import raw_form
from kept.store.content import packing
from kept.store.gc import collector
from kept.store.log.fence import LISTS, condemned, lists, read_list
from kept.store.repair.set_aside import set_aside, set_aside_blob
from kept.sync.mirror.replicate import Sync
from tests.helpers import Wrapped

BASE = b"frozen" * 50


@pytest.fixture(autouse=True)
def small_blobs(monkeypatch):
    """Chunks of 100 bytes are blobs of their own."""
    monkeypatch.setattr(packing, "PACK_BELOW", 100)


class Remote(MemoryBucket):
    """Object storage, as a writer sees it; it counts requests."""

    is_remote = True

    def __init__(self):
        super().__init__()
        self.requests = Counter()

    def size(self, key):
        self.requests["size"] += 1
        return super().size(key)

    def get(self, key, *args):
        self.requests["get"] += 1
        return super().get(key, *args)

    def keys(self, prefix, after=""):
        self.requests["keys"] += 1
        return super().keys(prefix, after)


@pytest.fixture(params=[MemoryBucket, Remote])
def store(request):
    return kept.Store(request.param())


def save(store, n):
    """A version of a frozen base and of something new."""
    files = [kept.MemoryFile("base", [BASE]), kept.MemoryFile("head", [b"%d" % n * 200])]
    return store.log_artifact("m", files)


def base_of(version):
    [chunk] = next(file for file in version.files if file.path == "base").chunks
    return chunk.blob, f"blobs/{chunk.blob[:2]}/{chunk.blob}"


def flip(store, key):
    data = bytearray(store.bucket.get(key))
    data[-3] ^= 1
    store.bucket.put(key, [bytes(data)])
    return bytes(data)


def test_the_next_save_stores_it_again(store):
    blob, key = base_of(save(store, 0))
    save(store, 1)
    damaged = flip(store, key)
    save(store, 2)  # no writer reads what it reuses
    assert [p.where for p in store.verify().problems] == ["m:v0", "m:v1", "m:v2"]
    assert set_aside_blob(store.bucket, blob) == (f"is damaged, and lies in damaged/{key} now")
    assert store.bucket.get(f"damaged/{key}") == damaged
    save(store, 3)
    assert store.verify().ok
    assert len(store.versions("m")) == 4


def test_a_missing_blob_is_marked(store):
    blob, key = base_of(save(store, 0))
    store.bucket.delete(key)
    assert set_aside_blob(store.bucket, blob) == "is missing"
    save(store, 1)
    assert store.verify().ok


def test_a_sound_blob_stays(store):
    blob, key = base_of(save(store, 0))
    assert set_aside_blob(store.bucket, blob) is None
    assert store.bucket.size(key) is not None
    assert list(store.bucket.keys("damaged/")) == []
    assert list(store.bucket.keys(LISTS)) == []


def test_it_gets_a_free_name(store):
    blob, key = base_of(save(store, 0))
    for n in range(3):
        flip(store, key)
        assert set_aside_blob(store.bucket, blob) is not None
        save(store, n + 1)
    assert list(store.bucket.keys("damaged/")) == [
        f"damaged/{key}", f"damaged/{key}.2", f"damaged/{key}.3"
    ]  # fmt: skip
    assert store.verify().ok


def test_a_key_that_is_no_blob_is_not_marked(store):
    save(store, 0)
    assert set_aside(store.bucket, "kept.json") == "damaged/kept.json"
    assert list(store.bucket.keys(LISTS)) == []


def test_a_blob_that_a_writer_replaces_at_the_last_moment_stays(store):
    """It was too short, so a writer stored it again while it was moved."""
    blob, key = base_of(save(store, 0))
    store.bucket.put(key, [b"short"])

    class Replaced(Wrapped):
        def move(self, name, target):
            if name == key:
                self.inner.put(key, raw_form([BASE]))
            self.inner.move(name, target)

    assert set_aside_blob(Replaced(store.bucket), blob) is None
    assert store.verify().ok


def test_what_the_user_may_not_read_is_not_moved(store):
    blob, key = base_of(save(store, 0))

    class Private(Wrapped):
        def get(self, name, *args):
            if name == key:
                raise Unreadable(f"{name} cannot be read") from PermissionError()
            return self.inner.get(name, *args)

    with pytest.raises(Unreadable):
        set_aside_blob(Private(store.bucket), blob)
    assert store.bucket.size(key) is not None


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_whatever_lies_in_its_place_is_moved(tmp_path, kind):
    store = kept.open_store(tmp_path / "store")
    blob, key = base_of(save(store, 0))
    path = tmp_path / "store" / key
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(Damaged):
        store["m:v0"].verify()
    assert "lies in damaged/" in set_aside_blob(store.bucket, blob)
    save(store, 1)
    assert store.verify().ok


def test_a_commit_to_object_storage_costs_no_more_requests():
    """Without damage; and one more for each damaged blob."""
    store = kept.Store(Remote())
    for n in range(3):
        save(store, n)
    requests = []
    for n in range(3, 6):
        store.bucket.requests.clear()
        save(store, n)
        requests.append(dict(store.bucket.requests))
        if n == 4:
            blob, key = base_of(store.version("m"))
            flip(store, key)
            set_aside_blob(store.bucket, blob)
    assert requests[0] == requests[1]
    # It asks for the blob that is marked, and before it stores the blob again.
    assert requests[2] == requests[1] | {"size": requests[1]["size"] + 2}


def test_a_mark_is_no_list_of_a_gc(store):
    blob, key = base_of(save(store, 0))
    flip(store, key)
    set_aside_blob(store.bucket, blob)
    [mark] = store.bucket.keys(LISTS)
    assert mark == f"gc/damaged-{blob}.json"
    assert lists(store.bucket) == []
    assert condemned(store.bucket) == frozenset()
    assert read_list(store.bucket, mark) == []  # as an earlier kept does


def test_gc_removes_a_mark_when_the_blob_is_stored_again(store, monkeypatch):
    blob, key = base_of(save(store, 0))
    flip(store, key)
    set_aside_blob(store.bucket, blob)
    monkeypatch.setattr(collector, "ABANDONED", timedelta(seconds=-10))  # all are old enough
    store.gc(grace=0)
    assert [k for k in store.bucket.keys(LISTS) if "damaged" in k] == [f"gc/damaged-{blob}.json"]
    save(store, 1)
    store.gc(grace=0)
    assert list(store.bucket.keys(LISTS)) == []
    assert store.bucket.size(f"damaged/{key}") is not None
    assert store.verify().ok


def test_a_young_mark_stays(store):
    blob, key = base_of(save(store, 0))
    flip(store, key)
    set_aside_blob(store.bucket, blob)
    save(store, 1)
    store.gc(grace=0)
    assert list(store.bucket.keys(LISTS)) == [f"gc/damaged-{blob}.json"]


def test_a_mirror_that_loses_a_blob_gets_it_again(store):
    """The sync of a long training remembers what the mirror has."""
    mirror = kept.Store(type(store.bucket)())
    sync = Sync(store, mirror, "m")
    blob, key = base_of(save(store, 0))
    sync.run()
    flip(mirror, key)
    set_aside_blob(mirror.bucket, blob)
    save(store, 1)
    sync.run()
    assert mirror.verify().ok
    assert len(mirror.versions("m")) == 2
