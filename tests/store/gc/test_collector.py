"""gc: the keys that it deletes, and every way in which it can meet a writer."""

from __future__ import annotations

import errno
import threading
from datetime import timedelta

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import BeingCollected, Damaged, InvalidInput, KeptError, Unreadable, VersionGone
from kept.store.blobs import blob
from kept.store.content import packing
from kept.store.gc import collector, own_list
from kept.store.gc.collector import collect_ruled_out
from kept.store.log.fence import LISTS, PENDING, encode_list
from kept.sync.mirror.replicate import Sync
from tests.helpers import Wrapped, tree, write


@pytest.fixture(autouse=True)
def small_blobs(monkeypatch):
    """Chunks of 100 bytes are blobs of their own, packs have 300: a version has both."""
    monkeypatch.setattr(packing, "PACK_BELOW", 100)
    monkeypatch.setattr(packing, "PACK_SIZE", 300)


@pytest.fixture
def log(tmp_path):
    """Log words as a version, each a file; those in capitals are blobs of their own."""

    def log(store, *words, name="m", **options):
        paths = [write(tmp_path / "given" / word, content(word)) for word in words]
        return store.log_artifact(name, paths, **options)

    return log


def content(word):
    return (f"{word} ".encode() * 80)[: 160 if word.isupper() else 30]


def holds(store, reference, *words, tmp_path):
    out = store.version(reference).download(tmp_path / "out" / reference.replace(":", "-"))
    return tree(out) == {word: content(word) for word in words}


def data(store):
    return [key for key in store.bucket.keys("") if key.startswith(("blobs/", "manifests/"))]


def rest(store):
    return list(store.bucket.keys(LISTS))


def needed(store):
    """The keys of what the versions need, found without gc."""
    found = set()
    for artifact in store.artifacts():
        for version in artifact.versions():
            manifest = version.record.manifest
            found.add(f"manifests/{manifest[:2]}/{manifest}.json")
            found |= {f"blobs/{c.blob[:2]}/{c.blob}" for c in version.manifest.chunks()}
    return sorted(found)


def free_all(store):
    """Collect with no grace, and take lists of killed ones for abandoned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collector, "ABANDONED", timedelta(0))
        store.gc(grace=0)
        return store.gc(grace=0)


# --- what goes ------------------------------------------------------------------------------------


def test_only_what_no_version_needs_goes(store, log, tmp_path):
    log(store, "A", "B", "small", "tiny")
    log(store, "B", "C", "small")
    log(store, "D", name="other")
    store.delete("m:v0", force=True)
    before = data(store)
    planned = store.gc(grace=0, dry_run=True)
    assert data(store) == before
    done = store.gc(grace=0)
    assert done == planned
    assert data(store) == needed(store)
    assert sorted({d.key for d in done.doomed} | set(data(store))) == before
    assert store.verify().problems == []
    assert holds(store, "m:v1", "B", "C", "small", tmp_path=tmp_path)
    assert rest(store) == []


def test_it_says_how_many_bytes_and_why(store, log, tmp_path):
    log(store, "A", "x")
    log(store, "B")
    deleted = store.delete("m:v0", force=True)
    store.bucket.put("blobs/ab/" + "ab" * 32, [b"12345"])
    found = store.gc(grace=0)
    [at] = [v.record.deleted_at for v in store.deleted("m")]
    sizes = found.by_reason()
    assert set(sizes) == {f"m:v0, deleted {at}", "nothing refers to it"}
    assert sizes["nothing refers to it"] == (1, 5)
    assert sizes[f"m:v0, deleted {at}"][0] == 3  # manifest, blob and pack
    assert found.bytes == sum(size for _, size in sizes.values())
    assert deleted.index == 0


def test_the_grace_is_for_the_young_and_for_those_deleted_a_moment_ago(store, log):
    log(store, "A")
    log(store, "B")
    store.delete("m:v0", force=True)
    found = store.gc()
    assert (found.doomed, found.young) == ((), 0)  # still needed: it can be undeleted
    assert store.undelete("m:v0").index == 0
    store.bucket.put("blobs/ab/" + "ab" * 32, [b"12345"])
    assert (store.gc().doomed, store.gc().young) == ((), 5)
    assert store.gc(grace=0).bytes == 5
    store.delete("m:v0", force=True)
    store.gc(grace=timedelta(0))
    with pytest.raises(VersionGone):
        store.undelete("m:v0")


def test_expired_versions_go(store, log):
    log(store, "A", ttl=0)
    log(store, "B")
    planned = store.gc(grace=0, dry_run=True)
    assert planned.expired == ("m:v0",)
    assert len(store.versions("m")) == 2
    found = store.gc(grace=0)
    assert found.expired == ("m:v0",)
    assert {d.key for d in planned.doomed} == {d.key for d in found.doomed}
    assert data(store) == needed(store)


def test_expired_versions_wait_for_the_grace_like_all_others(store, log):
    log(store, "A", ttl=0)
    log(store, "B")
    planned, done = store.gc(dry_run=True), store.gc()
    assert (planned.waiting, planned.expired, planned.doomed) == (1, ("m:v0",), ())
    assert planned == done


def test_an_expired_version_that_is_undeleted_at_once_stays(store, log, tmp_path, monkeypatch):
    """A user undeletes the version after gc deleted it, and before gc looks for needed keys."""
    log(store, "A", ttl=0)
    log(store, "B")
    plan = collector._Run.plan

    def undelete_first(run, grace):
        store.undelete("m:v0")
        return plan(run, grace)

    monkeypatch.setattr(collector._Run, "plan", undelete_first)
    assert store.gc(grace=0).doomed == ()
    assert holds(store, "m:v0", "A", tmp_path=tmp_path)


def test_a_deleted_version_waits_though_another_one_has_the_same_content(store, log):
    log(store, "A")
    log(store, "B")
    again = log(store, "A")
    store.delete("m:v0", force=True)
    assert [v.record.manifest for v in store.deleted("m")] == [again.record.manifest]
    found = store.gc()
    assert (found.waiting, found.doomed) == (1, ())
    assert store.undelete("m:v0").index == 0


def test_a_store_that_cannot_be_understood_is_left_alone(store, log):
    version = log(store, "A")
    log(store, "B")
    store.delete("m:v1", force=True)
    store.bucket.delete(f"manifests/{version.record.manifest[:2]}/{version.record.manifest}.json")
    before = data(store)
    with pytest.raises(Damaged, match="missing"):
        store.gc(grace=0)
    assert (data(store), rest(store)) == (before, [])


def test_other_keys_and_records_are_never_touched(store, log):
    log(store, "A")
    store.delete("m:v0", force=True)
    for key in ("blobs/readme", "blobs/ab/cd", "manifests/ab/x.json", "outbox/x/m.json", "notes"):
        store.bucket.put(key, [b"{}"])
    records = store.log("m").records.numbers()
    store.gc(grace=0)
    left = set(store.bucket.keys(""))
    assert {"blobs/readme", "blobs/ab/cd", "manifests/ab/x.json", "outbox/x/m.json"} < left
    assert store.log("m").records.numbers()[: len(records)] == records
    assert data(store) == ["blobs/ab/cd", "blobs/readme", "manifests/ab/x.json"]


def test_an_empty_store_and_bad_input(store):
    assert store.gc(grace=0).doomed == ()
    with pytest.raises(InvalidInput, match="grace is a time"):
        store.gc(grace="a while")


def test_nothing_to_delete_writes_nothing_to_the_logs(store, log):
    log(store, "A")
    head = store.log("m").view().head
    store.gc(grace=0)
    assert (store.log("m").view().head, rest(store)) == (head, [])


def test_a_manifest_without_chunks_stays(store, tmp_path):
    store.log_artifact("m", write(tmp_path / "empty", b""))
    store.log_artifact("m", write(tmp_path / "f", b"x"))
    store.delete("m:v0")
    free_all(store)
    assert store.undelete("m:v0").files[0].size == 0


# --- of what rules have deleted of one artifact, only ---------------------------------------------


def ruled_out(store, name="m", grace=0):
    return collect_ruled_out(store.logs, name, timedelta(seconds=grace))


@pytest.fixture
def pruned(log):
    """Make a bucket: rules have deleted A B x and A F of m, and D of other, a person A G of m."""

    def make():
        store = kept.Store(MemoryBucket())
        for words in (["A", "B", "x"], ["A", "G"], ["A", "F"], ["A", "C"]):
            log(store, *words)
        log(store, "D", name="other")
        log(store, "E", name="other")
        store.delete("m:v1")
        store.prune("m", kept.Keep(last=1))
        store.prune("other", kept.Keep(last=1))
        store.bucket.put("blobs/ab/" + "ab" * 32, [b"12345"])
        return store.bucket

    return make


def test_what_a_person_deleted_others_and_left_overs_stay(pruned, tmp_path):
    store = kept.Store(pruned())
    before = set(data(store))
    found = ruled_out(store)
    gone = before - set(data(store))
    assert gone == {doomed.key for doomed in found.doomed}
    assert len(gone) == 2 + 2 + 1  # manifests, B and F, the pack with x
    assert {doomed.why.partition(",")[0] for doomed in found.doomed} == {"m:v0", "m:v2"}
    for reference, words in (("m:v1", "AG"), ("other:v0", "D")):
        store.undelete(reference)
        assert holds(store, reference, *words, tmp_path=tmp_path)
    assert holds(store, "m:v3", "A", "C", tmp_path=tmp_path)
    for reference in ("m:v0", "m:v2"):
        with pytest.raises(VersionGone):
            store.undelete(reference)
    assert store.verify().problems == []
    assert (rest(store), ruled_out(store).doomed) == ([], ())
    assert "blobs/ab/" + "ab" * 32 in data(store)


def test_of_what_rules_have_deleted_a_moment_ago_nothing_goes(pruned):
    store = kept.Store(pruned())
    before, head = data(store), store.log("m").view().head
    assert ruled_out(store, grace=60).doomed == ()
    assert (data(store), store.log("m").view().head) == (before, head)
    assert store.undelete("m:v0").index == 0


def test_what_is_deleted_anew_by_a_person_is_a_persons_deletion(pruned):
    store = kept.Store(pruned())
    store.undelete("m:v0")
    store.delete("m:v0")
    ruled_out(store)
    assert store.undelete("m:v0").index == 0


def test_a_base_of_what_stays_stays(pruned, monkeypatch):
    store = kept.Store(pruned())
    [base] = {d.key for d in ruled_out(kept.Store(pruned())).doomed if "v2" in d.why} & {
        key for key in data(store) if key.startswith("blobs/")
    }
    left_over = "blobs/ab/" + "ab" * 32
    real = blob.bases_of
    monkeypatch.setattr(
        "kept.store.gc.marks.bases_of",
        lambda bucket, name, **_: (base[9:],) if name == left_over[9:] else real(bucket, name),
    )
    ruled_out(store)
    assert base in data(store)


# --- with others at work --------------------------------------------------------------------------


class Stop(BaseException):
    """The process is killed."""


class Stopping(Wrapped):
    """A bucket that does something before its call number n, once."""

    def __init__(self, inner, at, act):
        super().__init__(inner)
        self.calls, self._at, self._act = 0, at, act
        self.is_remote = inner.is_remote

    def __getattr__(self, name):
        found = getattr(self.inner, name)
        if name.startswith("_") or not callable(found) or name == "locked":
            return found

        def call(*args, **options):
            if self.calls == self._at:
                self._act()
            self.calls += 1
            return found(*args, **options)

        return call


def count(make, work):
    """How many calls of its bucket the work makes without a disturbance."""
    bucket = Stopping(make(), -1, None)
    work(kept.Store(bucket))
    return bucket.calls


@pytest.fixture
def prepared(log):
    """Make a bucket: m has A B x (deleted), then A C; other has D (deleted), then E."""

    def make():
        store = kept.Store(MemoryBucket())
        log(store, "A", "B", "x")
        log(store, "A", "C")
        log(store, "D", name="other")
        log(store, "E", name="other")
        store.delete("m:v0", force=True)
        store.delete("other:v0", force=True)
        return store.bucket

    return make


@pytest.fixture
def works(log, tmp_path):
    """What a writer may do, and which versions must exist afterwards."""

    def into_mirror(store):
        source = kept.Store(MemoryBucket())
        log(source, "B", "x", name="copy")
        log(source, "D", "E", name="copy")
        Sync(source, store, "copy").run()

    return {
        "garbage again": (lambda s: log(s, "A", "B", "x"), {"m:v2": ("A", "B", "x")}),
        "elsewhere": (lambda s: log(s, "B", "x", name="other"), {"other:v2": ("B", "x")}),
        "new artifact": (lambda s: log(s, "D", "x", name="new"), {"new:v0": ("D", "x")}),
        "new content": (lambda s: log(s, "F", "A", "y"), {"m:v2": ("F", "A", "y")}),
        "undelete": (lambda s: s.undelete("m:v0"), {"m:v0": ("A", "B", "x")}),
        "a mirror": (into_mirror, {"copy:v0": ("B", "x"), "copy:v1": ("D", "E")}),
    }


WORKS = ["garbage again", "elsewhere", "new artifact", "new content", "undelete", "a mirror"]


def do(store, work):
    """Do it; a refusal with these words is as good."""
    try:
        work(store)
    except (VersionGone, BeingCollected):
        return False
    return True


def check(bucket, done, wanted, tmp_path):
    store = kept.Store(bucket)
    if done:
        for reference, words in wanted.items():
            assert holds(store, reference, *words, tmp_path=tmp_path)
    assert store.verify().problems == []
    assert holds(store, "m:v1", "A", "C", tmp_path=tmp_path)
    assert holds(store, "other:v1", "E", tmp_path=tmp_path)
    free_all(store)
    assert data(store) == needed(store)
    assert rest(store) == []
    assert store.verify().problems == []


@pytest.mark.parametrize("what", WORKS)
def test_gc_in_every_moment_of_another(prepared, works, what, tmp_path):
    work, wanted = works[what]
    for at in range(count(prepared, work)):
        inner = prepared()
        bucket = Stopping(inner, at, lambda inner=inner: kept.Store(inner).gc(grace=0))
        check(inner, do(kept.Store(bucket), work), wanted, tmp_path)


@pytest.mark.parametrize("what", WORKS)
def test_another_in_every_moment_of_gc(prepared, works, what, tmp_path):
    work, wanted = works[what]
    for at in range(count(prepared, lambda store: store.gc(grace=0))):
        inner, done = prepared(), []
        act = lambda inner=inner, done=done: done.append(do(kept.Store(inner), work))  # noqa: E731
        kept.Store(Stopping(inner, at, act)).gc(grace=0)
        check(inner, all(done), wanted, tmp_path)


@pytest.mark.parametrize("what", WORKS)
def test_a_gc_that_is_killed_at_any_moment(prepared, works, what, tmp_path):
    def kill():
        raise Stop

    work, wanted = works[what]
    for at in range(count(prepared, lambda store: store.gc(grace=0))):
        inner = prepared()
        with pytest.raises(Stop):
            kept.Store(Stopping(inner, at, kill)).gc(grace=0)
        assert kept.Store(inner).verify().problems == []
        check(inner, do(kept.Store(inner), work), wanted, tmp_path)


@pytest.mark.parametrize("what", WORKS)
def test_that_of_rules_in_every_moment_of_another(prepared, works, what, tmp_path):
    def make():
        store = kept.Store(prepared())
        store.undelete("m:v0")
        store.prune("m", kept.Keep(last=1))
        return store.bucket

    work, wanted = works[what]
    freed = 0
    for at in range(count(make, work)):
        inner = make()
        collect = lambda inner=inner: ruled_out(kept.Store(inner))  # noqa: E731
        done = do(kept.Store(Stopping(inner, at, collect)), work)
        freed += ruled_out(kept.Store(inner)).bytes == 0
        check(inner, done, wanted, tmp_path)
    assert freed


class Paused(threading.Thread):
    """A gc in a thread that stops before its call number at, until it is let go."""

    def __init__(self, inner, at):
        super().__init__(daemon=True)
        self._there, self._go = threading.Event(), threading.Event()
        self._bucket = Stopping(inner, at, self._pause)

    def _pause(self):
        self._there.set()
        assert self._go.wait(30)

    def run(self):
        kept.Store(self._bucket).gc(grace=0)
        self._there.set()

    def begin(self):
        self.start()
        assert self._there.wait(30)

    def end(self):
        self._go.set()
        self.join(30)
        assert not self.is_alive()


def two_moments(prepared, work, wanted, tmp_path, stride):
    """gc stops at one moment; the other begins, and stops at another; gc ends; the other ends."""
    writing = count(prepared, work)
    for stopped in range(count(prepared, lambda store: store.gc(grace=0))):
        for at in range(stopped * 4 % stride, writing, stride):
            inner = prepared()
            collector = Paused(inner, stopped)
            bucket = Stopping(inner, at, collector.end)
            collector.begin()
            done = do(kept.Store(bucket), work)
            collector.end()
            check(inner, done, wanted, tmp_path)


TWO = pytest.mark.parametrize("what", ["garbage again", "new artifact", "undelete", "a mirror"])


@TWO
def test_one_in_eleven_of_every_two_moments(prepared, works, what, tmp_path):
    two_moments(prepared, *works[what], tmp_path, stride=11)


@TWO
@pytest.mark.integration
def test_every_two_moments(prepared, works, what, tmp_path):
    two_moments(prepared, *works[what], tmp_path, stride=1)


# --- in rounds, because a list of all keys does not fit on the disk -------------------------------


@pytest.fixture
def rounds(monkeypatch):
    """The disk has room for lists of two keys."""

    def encode(keys, owner):
        listed = list(keys)
        if len(listed) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return encode_list(listed, owner)

    monkeypatch.setattr(collector, "_FEW", 2)
    monkeypatch.setattr(own_list, "encode_list", encode)


@pytest.mark.usefixtures("rounds")
@pytest.mark.parametrize("what", ["garbage again", "undelete"])
def test_rounds_in_every_moment_of_another(prepared, works, what, tmp_path):
    test_gc_in_every_moment_of_another(prepared, works, what, tmp_path)


@pytest.mark.usefixtures("rounds")
@pytest.mark.parametrize("what", ["garbage again", "undelete"])
def test_another_in_every_moment_of_rounds(prepared, works, what, tmp_path):
    test_another_in_every_moment_of_gc(prepared, works, what, tmp_path)


@pytest.mark.usefixtures("rounds")
@pytest.mark.parametrize("what", ["garbage again", "undelete"])
def test_rounds_that_are_killed_at_any_moment(prepared, works, what, tmp_path):
    test_a_gc_that_is_killed_at_any_moment(prepared, works, what, tmp_path)


@TWO
@pytest.mark.usefixtures("rounds")
def test_rounds_and_one_in_thirty_one_of_every_two_moments(prepared, works, what, tmp_path):
    two_moments(prepared, *works[what], tmp_path, stride=31)


@pytest.mark.usefixtures("rounds")
def test_a_blob_is_listed_no_later_than_its_bases(prepared, monkeypatch):
    """Else a writer builds on a blob whose base is being deleted."""
    store, lists = kept.Store(prepared()), []
    blobs = [k for k in data(store) if k.startswith("blobs/") and k not in needed(store)][::-1]
    chain = {blob: blobs[n + 1 :] for n, blob in enumerate(blobs)}  # each with the next as base
    monkeypatch.setattr(
        "kept.store.gc.marks.bases_of",
        lambda _, name, **__: tuple(k[9:] for k in chain.get(f"blobs/{name[:2]}/{name}", ())),
    )
    real = own_list.encode_list
    monkeypatch.setattr(
        own_list,
        "encode_list",
        lambda keys, owner: real(lists.append(found := list(keys)) or found, owner),
    )
    store.gc(grace=0)
    listed = [key for keys in lists if len(keys) <= 2 for key in keys]
    assert len(blobs) == 3
    assert [key for key in listed if key in blobs] == blobs
    assert listed.index(blobs[0]) == len([k for k in listed if k.startswith("manifests/")])


# --- what is no file of kept ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._x", "...", "a/b"])
def test_strays_are_ignored_and_stay(store, log, name):
    log(store, "A")
    for folder in (LISTS, PENDING):
        store.bucket.put(folder + name, [b"of another program"])
        store.bucket._stored[folder + name] = 1.0
    log(store, "B")
    store.delete("m:v0", force=True)
    assert [d.why[:4] for d in store.gc(grace=0).doomed] == ["m:v0", "m:v0"]
    assert {LISTS + name, PENDING + name} <= set(store.bucket.keys(""))
    assert list(store.bucket.folders("artifacts/")) == ["m"]


def test_a_pending_artifact_may_have_any_name(store, log):
    log(store, "A")
    store.bucket.put(f"{PENDING}._first", [b""])
    store.delete("m:v0", force=True)
    store.gc(grace=0)
    assert list(store.bucket.folders("artifacts/")) == ["._first", "m"]  # with a fence


def test_the_base_of_a_blob_that_the_disk_cannot_read_stays(pruned, monkeypatch):
    """The blob can be a difference: its base is needed as soon as the disk works again."""
    store = kept.Store(pruned())
    before = data(store)
    [blob_key] = [key for key in needed(store) if key.startswith("blobs/")][:1]
    real = store.bucket.get

    def get(key, *args):
        if key == blob_key:
            raise Unreadable(f"{key} cannot be read: Input/output error")
        return real(key, *args)

    monkeypatch.setattr(store.bucket, "get", get)
    store.bucket._values[blob_key] += b"x"  # not the length of a raw blob, so its head is read
    with pytest.raises(Unreadable, match=blob_key):
        store.gc(grace=0)
    assert data(store) == before
    assert rest(store) == []


def test_a_gc_taken_for_dead_stops(prepared, monkeypatch):
    monkeypatch.setattr(collector, "_BATCH", 1)
    monkeypatch.setattr(own_list, "_PAUSE", 0)
    inner = prepared()

    def take_for_dead():
        for key in list(inner.keys(LISTS)):
            inner.delete(key)

    calls = count(prepared, lambda store: store.gc(grace=0))
    refused = 0
    for at in range(calls):
        inner = prepared()
        try:
            kept.Store(Stopping(inner, at, take_for_dead)).gc(grace=0)
        except (KeptError, KeyError):
            refused += 1
        assert kept.Store(inner).verify().problems == []
    assert refused > 5


def test_lists_of_the_dead_go_after_an_hour(prepared, monkeypatch):
    inner = prepared()
    inner.put(f"{LISTS}dead.json", [b'{"keys":[]}'])
    kept.Store(inner).gc(grace=0)
    assert rest(kept.Store(inner)) == [f"{LISTS}dead.json"]
    inner._stored[f"{LISTS}dead.json"] -= 3601
    kept.Store(inner).gc(grace=0)
    assert rest(kept.Store(inner)) == []


def test_while_a_list_names_it_a_mirror_waits_and_a_version_takes_other_names(store, log, tmp_path):
    log(store, "A", "x")
    log(store, "B")
    store.delete("m:v0", force=True)
    doomed = [d.key for d in store.gc(grace=0, dry_run=True).doomed]
    store.bucket.put(f"{LISTS}busy.json", [kept.store.encoding.canonical({"keys": doomed})])
    source = kept.Store(MemoryBucket())
    log(source, "A", "x", name="copy")
    with pytest.raises(BeingCollected, match="A gc is about to delete bytes in memory"):
        Sync(source, kept.Store(store.bucket), "copy").run()
    version = log(store, "A", "x")
    assert not set(needed(store)) & set(doomed)
    for key in [*doomed, f"{LISTS}busy.json"]:
        store.bucket.delete(key)
    assert holds(store, version.reference, "A", "x", tmp_path=tmp_path)
    assert Sync(source, kept.Store(store.bucket), "copy").run().versions == 1


def test_an_artifact_that_never_came_to_be_is_not_found(store, log):
    log(store, "A")
    store.delete("m:v0", force=True)
    store.bucket.put(f"{PENDING}dead", [b""])
    store.gc(grace=0)
    with pytest.raises(kept.errors.ArtifactNotFound, match="No artifact 'dead'"):
        store.version("dead")
    assert log(store, "A", name="dead").index == 0


def test_a_place_without_a_store_stays_empty(tmp_path):
    for dry_run in (True, False):
        assert kept.open_store(tmp_path / "none").gc(grace=0, dry_run=dry_run).doomed == ()
    assert not (tmp_path / "none").exists()
