"""The gc of one artifact, in every moment of writers of this and of others."""

from __future__ import annotations

import contextlib
import random
import threading
from datetime import timedelta

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged, VersionGone
from kept.store.blobs.blob import blob_key
from kept.store.content.manifest import manifest_key
from kept.store.gc import own_list, owned, pinned
from kept.store.gc.owned import OwnedBlobs
from kept.store.log.fence import LISTS
from kept.store.version import take_written
from kept.sync.mirror.replicate import Sync
from kept.training.upkeep.gc import BackgroundGC
from tests.helpers import Wrapped
from tests.store.gc.test_collector import Stopping, data, do, holds, log, small_blobs
from tests.store.gc.test_lists import Lying, everything

__all__ = ["log", "small_blobs"]  # fixtures

WHEN = 20  # of the many choices of three moments


class Once(Stopping):
    """A Stopping for many threads: requests of object storage run side by side."""

    def __init__(self, inner, at, act):
        super().__init__(inner, at, self._first)
        self._do, self._lock, self._is_done = act, threading.Lock(), False

    def _first(self):
        with self._lock:
            if not self._is_done:
                self._is_done = True
                self._do()


class Remote(MemoryBucket):
    """A bucket in memory that behaves as object storage."""

    is_remote = True

    @contextlib.contextmanager
    def locked(self, name, *, wait=False):
        yield False


@pytest.fixture(autouse=True)
def old_manifests(monkeypatch):
    monkeypatch.setattr(owned, "_YOUNG", -1.0)  # those in place count as old enough
    monkeypatch.setattr(own_list, "_LATE", 0.0)
    monkeypatch.setattr(own_list, "_PAUSE", 0.0)


@pytest.fixture(params=[Remote, MemoryBucket], ids=["object storage", "folder"])
def place(request):
    return request.param


@pytest.fixture
def prepared(log, place):
    """Make a bucket, and what frees the blobs of m:v1, C D y, through another view of it.

    m has A B x (not owned), C D y, C D z (both ruled out), E; other has A x, deleted, and A.
    """

    def make(wrap=lambda bucket: bucket):
        bucket = place()
        store = kept.Store(bucket)
        log(store, "A", "x", name="other")
        log(store, "A", name="other")
        store.delete("other:v0")
        seen = wrap(bucket)
        found = OwnedBlobs(kept.Store(seen).logs, "m")
        for words in (["A", "B", "x"], ["C", "D", "y"], ["C", "D", "z"], ["E"]):
            note(found, log(store, *words))
        store.prune("m", kept.Keep(last=1))
        return bucket, seen, found

    return make


@pytest.fixture
def works(log):
    """What a writer may do, and the versions that must exist afterwards."""

    def into_mirror(store):
        source = kept.Store(MemoryBucket())
        log(source, "C", "D", "y", name="copy")
        log(source, "D", "x", name="copy")
        Sync(source, store, "copy").run()

    return {
        "same elsewhere": (lambda s: log(s, "C", "D", "y", name="other"), {"other:v2": "CDy"}),
        "same anew": (lambda s: log(s, "C", "D", "y", name="new"), {"new:v0": "CDy"}),
        "part elsewhere": (lambda s: log(s, "D", "u", name="other"), {"other:v2": "Du"}),
        "again": (lambda s: log(s, "C", "D", "y"), {"m:v4": "CDy"}),
        "undelete": (lambda s: s.undelete("m:v1"), {"m:v1": "CDy"}),
        "a mirror": (into_mirror, {"copy:v0": "CDy", "copy:v1": "Dx"}),
    }


WORKS = ["same elsewhere", "same anew", "part elsewhere", "again", "undelete", "a mirror"]
IN_A_FOLDER = ["part elsewhere", "undelete"]  # the two ways differ little, and this takes time
ALL = pytest.mark.parametrize(
    ("place", "what"),
    [*((Remote, w) for w in WORKS), *((MemoryBucket, w) for w in IN_A_FOLDER)],
    indirect=["place"],
)


def note(found, version):
    found.committed(version.record.manifest, take_written(version))


def free(found):
    return found.collect(timedelta())


def check(bucket, done, wanted, tmp_path):
    store = kept.Store(bucket)
    if done:
        for reference, words in wanted.items():
            assert holds(store, reference, *words, tmp_path=tmp_path)
    assert holds(store, "m:v3", "E", tmp_path=tmp_path)
    assert holds(store, "other:v1", "A", tmp_path=tmp_path)
    assert store.verify().problems == []


def calls(work, bucket):
    counting = Once(bucket, -1, None)
    with contextlib.suppress(VersionGone):
        work(kept.Store(counting))
    return counting.calls


@pytest.mark.parametrize("place", [Remote], indirect=True)
def test_what_this_process_has_stored_goes_and_nothing_else(prepared, tmp_path):
    bucket, _, found = prepared()
    before = set(data(kept.Store(bucket)))
    heads = kept.Store(bucket).log("other").view().head
    assert free(found) == 2 + 2 + 2  # manifests, C and D, packs
    gone = before - set(data(kept.Store(bucket)))
    assert len(gone) == 6
    store = kept.Store(bucket)
    assert store.log("other").view().head == heads
    assert [key.partition("round-")[0] for key in bucket.keys(LISTS)] == [LISTS]
    assert free(found) == 0
    with pytest.raises(VersionGone):
        store.undelete("m:v1")
    assert holds(store.undelete("m:v0") and store, "m:v0", "A", "B", "x", tmp_path=tmp_path)
    assert holds(store.undelete("other:v0") and store, "other:v0", "A", "x", tmp_path=tmp_path)


def test_in_a_folder_what_earlier_processes_have_stored_goes_by_the_other_gc(log, tmp_path):
    store, gc = kept.open_store(tmp_path / "store"), BackgroundGC(timedelta())
    for name, words in (("other", ["A"]), ("m", ["B"]), ("m", ["C"])):
        log(store, *words, name=name)
    heads = []
    for word in "DEFGHIJKL":  # a new process: B, C and D, its first one, need a gc of all artifacts
        if word == "H":  # so does what it stored before another gc, G and H, and I after it
            log(store, "X", name="x")
            store.delete("x:v0")
            store.gc(grace=0)
        version = log(store, word)
        gc.committed(version, take_written(version))
        store.prune("m", kept.Keep(last=1))
        gc._free(store, "m")
        heads.append(store.log("other").view().head)
        assert len(list(store.bucket.keys("manifests/"))) == 2  # of other, and the newest
    assert heads == [2, 3, 3, 3, 5, 6, 7, 7, 7]
    assert store.verify().problems == []


def again(bucket, log, name="other"):
    """A writer of another artifact stores m:v1, C D y, once more, after it was freed."""
    log(kept.Store(bucket), "C", "D", "y", name=name)


@pytest.mark.parametrize("collects", ["twice", "by kept gc", "by another of the artifact"])
def test_what_another_artifact_has_stored_again_is_not_owned(prepared, log, tmp_path, collects):
    """The log of m names a manifest that was freed, and that another artifact has stored since."""
    bucket, _, found = prepared()
    if collects == "by kept gc":
        kept.Store(bucket).gc(grace=0)
    else:
        by = found if collects == "twice" else OwnedBlobs(kept.Store(bucket).logs, "m")
        if by is not found:
            by._before, by._blobs, by._mine = {}, set(found._blobs), set(found._mine)
            by._seen = found._seen
        assert free(by) == 6
    again(bucket, log)
    store = kept.Store(bucket)
    note(found, log(store, "I"))
    store.prune("m", kept.Keep(last=1))
    free(found)
    assert holds(store, "other:v2", "C", "D", "y", tmp_path=tmp_path)
    assert kept.Store(bucket).verify().problems == []


def test_versions_of_an_earlier_kept_have_no_notes(prepared, place, log, tmp_path):
    """Two artifacts share manifests without a key below shared/: nothing of them goes."""
    bucket = place()
    store = kept.Store(bucket)
    for name in ("m", "other"):
        log(store, "C", "D", "y", name=name)
    for key in list(bucket.keys("shared/")):
        bucket.delete(key)
    found = OwnedBlobs(kept.Store(bucket).logs, "m")
    for words in (["C", "D", "y"], ["E"], ["F"]):
        note(found, log(store, *words))
    store.prune("m", kept.Keep(last=1))
    assert free(found) > 0  # of E
    assert holds(store, "other:v0", "C", "D", "y", tmp_path=tmp_path)
    assert kept.Store(bucket).verify().problems == []


def test_a_later_gc_has_the_next_round_and_removes_the_one_before(prepared, log):
    bucket, _, found = prepared()
    free(found)
    store = kept.Store(bucket)
    for words in (["G"], ["H"]):
        note(found, log(store, *words))
    store.prune("m", kept.Keep(last=1))
    assert free(found) >= 4  # of E and G
    assert list(bucket.keys(LISTS)) == [f"{LISTS}round-{2:020d}.json"]


@ALL
def test_in_every_moment_of_another(prepared, works, what, tmp_path):
    work, wanted = works[what]
    for at in range(calls(work, prepared()[0])):
        bucket, _, found = prepared()
        writer = kept.Store(Once(bucket, at, lambda found=found: free(found)))
        check(bucket, do(writer, work), wanted, tmp_path)


@ALL
def test_another_in_every_moment(prepared, works, what, tmp_path):
    work, wanted = works[what]
    _, counted, found = prepared(lambda inner: Once(inner, -1, None))
    start = counted.calls
    free(found)
    for at in range(start, counted.calls):
        done = []

        def wrap(inner, at=at, done=done):
            return Once(inner, at, lambda: done.append(do(kept.Store(inner), work)))

        bucket, _, found = prepared(wrap)
        free(found)
        check(bucket, all(done), wanted, tmp_path)


class Paused(threading.Thread):
    """A gc in a thread that stops before a call until it may continue."""

    def __init__(self):
        super().__init__(daemon=True)
        self.there, self.go, self.found = threading.Event(), threading.Event(), None

    def pause(self):
        self.there.set()
        assert self.go.wait(30)

    def run(self):
        free(self.found)
        self.there.set()

    def begin(self):
        self.start()
        assert self.there.wait(30)

    def end(self):
        self.go.set()
        if self.ident:
            self.join(30)


class Twice(Once):
    """A bucket that does one thing before a call, and another before a later one."""

    def __init__(self, inner, moments, acts):
        super().__init__(Once(inner, moments[1], acts[1]), moments[0], acts[0])


@ALL
def test_three_moments(prepared, works, what, tmp_path):
    """The writer runs to i, gc to j, the writer to k, gc to its end, the writer to its end."""
    work, wanted = works[what]
    choose = random.Random(what)
    writing = calls(work, prepared()[0])
    _, counted, found = prepared(lambda inner: Once(inner, -1, None))
    start = counted.calls
    free(found)
    for _ in range(WHEN):
        first, second = sorted(choose.choices(range(writing), k=2))
        at, gc = choose.randrange(start, counted.calls), Paused()
        bucket, _, gc.found = prepared(lambda inner, at=at, gc=gc: Once(inner, at, gc.pause))
        seen = Twice(bucket, (first, second), (gc.begin, gc.end))
        done = do(kept.Store(seen), work)
        gc.end()
        check(bucket, done, wanted, tmp_path)


def test_a_killed_one_leaves_a_list_and_the_store_is_whole(prepared, works, tmp_path):
    class Stop(BaseException):
        pass

    def kill():
        raise Stop

    _, counted, found = prepared(lambda inner: Once(inner, -1, None))
    start = counted.calls
    free(found)
    for at in range(start, counted.calls):
        bucket, _, found = prepared(lambda inner, at=at: Once(inner, at, kill))
        with contextlib.suppress(Stop):
            free(found)
        work, wanted = works["same anew"]
        check(bucket, do(kept.Store(bucket), work), wanted, tmp_path)


def test_lists_that_lack_manifests_of_the_own_versions_stop_it(prepared):
    bucket, seen, found = prepared(lambda inner: Lying(inner, "manifests/", everything, 1))
    before = data(kept.Store(bucket))
    with pytest.raises(Damaged, match="or a list is old or incomplete"):
        free(found)
    assert data(kept.Store(bucket)) == before
    assert isinstance(seen, Wrapped)


def test_a_gc_of_the_whole_store_removes_the_notes_of_what_it_deletes(prepared, log):
    bucket, *_ = prepared()
    store = kept.Store(bucket)
    log(store, "C", "D", "y", name="other")
    assert len(list(bucket.keys("shared/"))) == 1
    store.delete("other:v2")
    store.gc(grace=0)
    assert list(bucket.keys("shared/")) == []
    assert store.verify().problems == []


@pytest.mark.parametrize("place", [MemoryBucket], indirect=True)
def test_a_version_waits_as_long_as_a_blob_of_it_is_the_base_of_one_that_stays(
    prepared, monkeypatch
):
    bucket, _, found = prepared()
    store = kept.Store(bucket)
    before = set(data(store))
    [stays] = {chunk.blob for chunk in store.version("m").manifest.chunks()}
    one, two = ({c.blob for c in store.logged("m", n).manifest.chunks()} for n in (1, 2))
    [base] = one - two
    monkeypatch.setattr(
        pinned, "bases_of", lambda _bucket, name, **_: (base,) if name == stays else ()
    )
    free(found)
    gone = before - set(data(store))
    assert blob_key(base) not in gone
    assert manifest_key(store.logged("m", 1).record.manifest) not in gone
    assert manifest_key(store.logged("m", 2).record.manifest) in gone
    monkeypatch.undo()
    found._bases._known.clear()
    monkeypatch.setattr(own_list, "_PAUSE", 0.0)
    free(found)
    assert blob_key(base) not in data(store)
    assert store.verify().problems == []


def test_a_callback_beside_other_artifacts_in_a_folder_writes_into_its_own_log(tmp_path, log):
    store, gc = kept.open_store(tmp_path / "store"), BackgroundGC(timedelta())
    for name in ("a", "b"):
        log(store, name.upper(), "F", name=name)
    heads = [store.log(name).view().head for name in ("a", "b")]
    for words in (["T", "F"], ["U", "F"], ["V", "F"], ["W", "F"]):
        version = log(store, *words)
        gc.committed(version, take_written(version))
    store.set_alias("m:v0", "pinned")
    store.prune("m", kept.Keep(last=1))
    gc._free(store, "m")
    assert [store.log(name).view().head for name in ("a", "b")] == heads
    with pytest.raises(VersionGone):
        store.undelete("m:v1")
    assert len(list(store.bucket.keys("manifests/"))) == 4
    assert store.verify().problems == []


class OldLists(Wrapped):
    """Lists of manifests come from a cache: they have only the keys that it has seen."""

    seen = frozenset()

    def items(self, prefix, after=""):
        found = self.inner.items(prefix, after)
        return (i for i in found if prefix != "manifests/" or not self.seen or i.key in self.seen)


def test_an_old_list_of_manifests(log):
    """It lacks the manifest of another artifact, which needs C: nothing is deleted."""
    bucket = Remote()
    store, seen = kept.Store(bucket), OldLists(bucket)
    owned = OwnedBlobs(kept.Store(seen).logs, "m")
    for words in (["A"], ["C", "D"], ["E"]):
        note(owned, log(store, *words))
    seen.seen = frozenset(bucket.keys("manifests/"))
    log(store, "C", name="other")
    store.prune("m", kept.Keep(last=1))
    with pytest.raises(Damaged, match="old or incomplete"):
        owned.collect(timedelta())
    seen.seen = frozenset()
    assert kept.Store(bucket).verify().ok
    assert owned.collect(timedelta())
    report = kept.Store(bucket).verify()
    assert (report.ok, report.versions) == (True, 2)
    assert not [key for key in bucket.keys("manifests/") if "z-" in key]


def test_a_list_without_the_note_of_a_shared_manifest(log):
    """Two artifacts have the same content; the list of such notes is cut off."""

    class Cut(Wrapped):
        def keys(self, prefix, after=""):
            return iter(()) if prefix == "shared/" else self.inner.keys(prefix, after)

    bucket = Remote()
    store = kept.Store(bucket)
    owned = OwnedBlobs(kept.Store(Cut(bucket)).logs, "m")
    for words in (["A"], ["C", "D"], ["E"]):
        note(owned, log(store, *words))
    log(store, "C", "D", name="other")
    store.prune("m", kept.Keep(last=1))
    owned.collect(timedelta())
    assert kept.Store(bucket).verify().ok
