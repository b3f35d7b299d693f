import errno
import os
import re
import threading
import time
from collections import Counter

import numpy as np
import pytest

import kept
from kept.digest import digest
from kept.errors import AccessDenied, Damaged, InvalidInput, Unreachable
from kept.store.blobs.blob import bases_of
from kept.store.encoding import seal
from kept.store.receipts import Receipts
from kept.store.scrub import content, metered
from tests.helpers import Wrapped, hdf5, write


@pytest.fixture
def keys(store, file, small_pages):
    """Two artifacts, one of them with pages; the names of a few keys."""
    for n in range(6):
        store.log_artifact("m", file(b"%d" % n * 1000), aliases=["best"])
    store.log_artifact("other", file(b"0" * 1000))
    return {
        "page": "artifacts/m/state/00000000000000000004.json",
        **{n: f"artifacts/m/log/{n:020d}.json" for n in range(1, 9)},
    }


def blobs(store, name, index):
    """The keys of the blobs of a version, deleted or not."""
    chunks = store.logged(name, index).manifest.chunks()
    return list(dict.fromkeys(f"blobs/{c.blob[:2]}/{c.blob}" for c in chunks))


def flipped(data):
    return bytes(data[:-1]) + bytes([data[-1] ^ 1])


def problems(store):
    return [(problem.where, problem.message) for problem in store.verify().problems]


def test_a_sound_store(store, keys):
    progress = []
    report = store.verify(progress=lambda *p: progress.append(p))
    assert report.ok
    report.raise_if_damaged()
    # v0 of m and of other share their chunk, which is read once.
    assert (report.versions, report.chunks, report.bytes) == (7, 6, 6000)
    assert progress == [(n, 6000) for n in range(1000, 7000, 1000)]
    assert (report.blobs, report.skipped, report.all_blobs) == (6, 0, 6)
    assert (store.verify("m:best").versions, store.verify("m:best").bytes) == (1, 1000)


def test_deleted_versions_are_read_as_long_as_undelete_can_restore_them(store, keys):
    store.delete("m:v2")
    assert store.verify().versions == 6
    [key] = blobs(store, "m", 2)
    stored = bytes(store.bucket.get(key))
    store.bucket.put(key, [flipped(stored)])
    [problem] = store.verify().problems
    assert (problem.where, problem.key) == ("m:v2", key)
    assert "the version is deleted" in problem.message
    store.bucket.delete(key)  # as a gc does
    assert store.verify().ok
    store.bucket.put(key, [stored])
    store.gc(grace=0)
    assert store.verify().ok


def test_a_shared_blob_is_reported_for_each_version(store, keys):
    [chunk] = store["m:v0"].manifest.chunks()
    key = f"blobs/{chunk.blob[:2]}/{chunk.blob}"
    store.bucket.delete(key)
    assert [where for where, message in problems(store) if key in message] == ["m:v0", "other:v0"]
    with pytest.raises(Damaged, match=f"m:v0: {key} is missing"):
        store["m:v0"].verify()
    assert store.verify("m:v1").ok


@pytest.mark.parametrize("gone", [[1], [2, 3], [5], [6], [1, 2, 3, 4, 5, 6]])
def test_every_gap_in_a_log_is_found(store, keys, gone):
    for number in gone:
        store.bucket.delete(keys[number])
    found = problems(store)
    # Without its last records, and with no page that knows of them, a log is an older log.
    expected = [n for n in gone if n <= 4 or set(range(n + 1, 7)) - set(gone)]
    assert found == [("m", f"{keys[n]} is missing: the log has a gap") for n in expected]


def test_what_does_not_belong_into_a_log_does_no_harm(store, keys):
    for name in (
        "0.json",
        "1.json",
        "99999999999999.json",
        "000.json",
        "notes.txt",
        ".json",
        "x.json",
    ):
        store.bucket.put(f"artifacts/m/log/{name}", [b"?"])
        store.bucket.put(f"artifacts/m/state/{name}", [b"?"])
    assert store.version("m").index == 5
    assert store.verify().versions == 7


def test_records_of_an_unknown_kind(store, keys):
    store.bucket.put(keys[6], [seal({"number": 6, "event": "from the future", "write_id": "x"})])
    [(where, message)] = problems(store)
    assert (where, "from the future" in message) == ("m", True)
    with pytest.raises(Damaged, match=r"from the future.*it is v4; name m:v4"):
        kept.Store(store.bucket).version("m")


def test_a_page_that_differs_from_the_records(store, keys):
    page = store.log("m").pages.read(4)
    page[1]["metadata"] = {"loss": "better than it was"}
    store.bucket.put(keys["page"], [seal({"events": page})])
    assert problems(store) == [("m", f"{keys['page']} differs from the records it covers")]


def test_the_other_versions_of_a_damaged_log_are_checked(store, keys):
    record = store.bucket.get(keys[3])
    store.bucket.put(keys[3], [record.replace(b"best", b"lest")])
    report = store.verify()
    assert [problem.where for problem in report.problems] == ["m"]
    assert report.versions == 6
    with pytest.raises(Damaged, match=keys[3]):
        report.raise_if_damaged()


def test_a_manifest_of_another_version(store, keys, tmp_path):
    """Both are sound, but the log says otherwise: sizes and content digest are compared."""
    record = store["m:v1"].record
    store.log_artifact("fake", write(tmp_path / "f", b"x"))
    event = {"event": "version", "index": 1, "type": "model", "manifest": record.manifest,
             "digest": "0" * 64, "size": 1000, "aliases": [], "metadata": {}}  # fmt: skip
    store.log("fake").append(event)
    assert problems(store) == [
        (
            "fake:v1",
            (
                f"manifests/{record.manifest[:2]}/{record.manifest}.json does not match the log: "
                f"expected digest {'0' * 64} and 1000 bytes, "
                f"found {record.digest} and {record.size}"
            ),
        )
    ]


def test_a_manifest_that_sends_readers_elsewhere(store, tmp_path):
    """The content digest does not cover where chunks lie; the digest in the key does."""
    for name in "ab":
        write(tmp_path / "d" / name, name.encode() * 1000)
    version = store.log_artifact("m", tmp_path / "d")
    key = f"manifests/{version.record.manifest[:2]}/{version.record.manifest}.json"
    data = store.bucket.get(key)
    store.bucket.put(key, [data.replace(b",1000,0,1000]", b",1000,0,2000]")])
    assert store.bucket.get(key) != data
    [(where, message)] = problems(store)
    assert (where, message.startswith(f"{key} is damaged")) == ("m:v0", True)


def manifest_of(store, reference):
    name = store.version(reference).record.manifest
    return f"manifests/{name[:2]}/{name}.json"


def test_no_error_hides_another(tmp_path, file, small_pages):
    """Everything at once: each damaged key is named, and the rest is read."""
    store = kept.open_store(tmp_path / "store")
    for n in range(6):
        store.log_artifact("m", file(b"%d" % n * 1000))
    store.log_artifact("other", file(b"x" * 1000))
    mirror = kept.open_store(tmp_path / "mirror")
    receipts = Receipts(store.bucket, mirror.location)
    receipts.confirm("m", 6, 5)
    receipts.confirm("other", 3, 2)
    [receipt] = [key for key in store.bucket.keys("outbox/") if key.endswith("/m.json")]
    broken = {
        "kept.json": lambda key: put(store, key, b"{"),
        "gc/0123.json": lambda key: put(store, key, b"[1]"),
        receipt: lambda key: put(store, key, b"{}"),
        "artifacts/m/log/00000000000000000002.json": lambda key: put(store, key, b"?"),
        "artifacts/m/state/00000000000000000004.json": lambda key: put(store, key, b"?"),
        manifest_of(store, "m:v2"): lambda key: put(store, key, b"?"),
        manifest_of(store, "m:v3"): store.bucket.delete,
        blobs(store, "m", 4)[0]: lambda key: put(store, key, flipped(store.bucket.get(key))),
        blobs(store, "m", 5)[0]: store.bucket.delete,
    }
    for key, damage in broken.items():
        damage(key)
    lost = "artifacts/other/log/00000000000000000002.json"
    report = kept.open_store(store.location).verify()
    found = {problem.key: problem for problem in report.problems}
    assert found.keys() == broken.keys() | {lost}
    assert len(report.problems) == len(found)
    assert all(key in found[key].message for key in broken)
    assert found[lost].message == (
        f"the mirror {mirror.location} has confirmed record 3, the log ends with 1: "
        "the last 2 records are lost"
    )
    assert [found[blobs(store, "m", n)[0]].where for n in (4, 5)] == ["m:v4", "m:v5"]
    assert report.versions == 6
    assert report.blobs == 4  # of v0, v4, v5 and other; v1 is hidden, v2 and v3 have no manifest


def put(store, key, data):
    store.bucket.put(key, [data])


def test_an_artifact_that_is_gone_and_that_a_mirror_has(store, keys):
    Receipts(store.bucket, "elsewhere").confirm("gone", 1, 0)
    [problem] = store.verify().problems
    assert (problem.where, problem.key) == ("gone", "artifacts/gone/log/00000000000000000001.json")
    assert problem.message.endswith("the log ends with 0: the last record is lost")


def test_a_receipt_that_comes_while_the_log_is_read_is_no_fault(store, keys, file):
    """A writer commits and its mirror confirms, just after verify has read the log."""
    inner = store.bucket

    class Writing(Wrapped):
        def keys(self, prefix, after=""):
            yield from inner.keys(prefix, after)
            if prefix == "artifacts/m/log/":
                kept.Store(inner).log_artifact("m", file(os.urandom(100)))
                log = kept.Store(inner).log("m").view()
                Receipts(inner, "elsewhere").confirm("m", log.head, 6)

    assert kept.Store(Writing(inner)).verify().ok


def test_a_version_that_gc_frees_meanwhile_is_no_fault(store, keys):
    """It was there when verify read the log."""
    inner = store.bucket

    class Collecting(Wrapped):
        def get(self, key, *args):
            if key.startswith("blobs/"):
                other = kept.Store(inner)
                if other.logged("m", 1).record.deleted is False:
                    other.delete("m:v1", force=True)
                    other.delete("m:v2", force=True)
                    other.gc(grace=0)
            return inner.get(key, *args)

    assert kept.Store(Collecting(inner)).verify().ok
    assert [v.index for v in store.versions("m")] == [0, 3, 4, 5]


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES])
def test_a_key_that_the_system_cannot_read_is_a_fault_of_that_key(store, keys, error):
    bad = {manifest_of(store, "m:v0"), blobs(store, "m", 3)[0]}
    found = kept.Store(Unreadable(store.bucket, bad, error)).verify().problems
    # v0 and other:v0 have the same content.
    assert [(p.where, p.key) for p in found] == [
        ("m:v0", manifest_of(store, "m:v0")),
        ("other:v0", manifest_of(store, "m:v0")),
        ("m:v3", blobs(store, "m", 3)[0]),
    ]
    assert all(os.strerror(error) in p.message for p in found)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_shortage_of_the_process_is_no_fault_of_a_key(store, keys, error):
    bad = {manifest_of(store, "m:v0")}
    with pytest.raises(OSError, match=os.strerror(error)):
        kept.Store(Unreadable(store.bucket, bad, error)).verify()


class Unreadable(Wrapped):
    """A bucket on a disk with bad sectors."""

    def __init__(self, inner, bad, error):
        super().__init__(inner)
        self.bad, self.error = bad, error

    def get(self, key, *args):
        if key in self.bad:
            raise OSError(self.error, os.strerror(self.error))
        return self.inner.get(key, *args)


@pytest.fixture
def coded(store, tmp_path):
    """Versions whose blobs are differences; the keys of a blob and of its base."""
    base = np.random.default_rng(0).normal(0, 0.02, 300_000).astype("f4")
    for n in range(3):
        path = write(tmp_path / "m.h5", hdf5({"w": (base + n * 1e-5).astype("f4")}))
        store.log_artifact("m", path)
    store.compact()
    for version in store.versions("m"):
        for key in blobs(store, "m", version.index):
            bases = bases_of(store.bucket, key.rpartition("/")[2])
            if bases:
                return key, f"blobs/{bases[0][:2]}/{bases[0]}"
    raise AssertionError("nothing was coded with a base")


@pytest.mark.parametrize("is_missing", [True, False])
def test_a_damaged_base_is_named_beside_the_blob(store, coded, is_missing):
    blob, base = coded
    if is_missing:
        store.bucket.delete(base)
    else:
        put(store, base, flipped(store.bucket.get(base)))
    named = [p for p in store.verify().problems if p.message.startswith(blob)]
    assert named
    assert {p.key for p in named} == {base}
    assert all(base in p.message for p in named)


def test_a_damaged_blob_whose_base_is_refused_later(store, coded):
    blob, base = coded
    data = bytes(store.bucket.get(blob))
    put(store, blob, data[:-9] + flipped(data[-9:]))
    [message, *_] = [p.message for p in store.verify().problems if p.key == blob]
    reads = Counter()

    class Refusing(Wrapped):
        is_remote, concurrency = True, 1

        def get(self, key, *args):
            reads[key] += 1
            if key == base and reads[blob] > 2:  # twice, then the search for the culprit
                raise AccessDenied("not now")
            return self.inner.get(key, *args)

    report = kept.Store(Refusing(store.bucket)).verify()
    assert message in [p.message for p in report.problems if p.key == blob]


def test_a_blob_is_read_once(store, keys, file):
    """Also by a check of many versions; the store reads no more than that."""
    for n in range(3):
        store.log_artifact("n", file(os.urandom(2_000_000), f"{n}"))
        store.set_alias("m:v0", f"a{n}")
    reads = Counter()

    class Counting(Wrapped):
        def get(self, key, *args):
            reads[key] += 1
            return self.inner.get(key, *args)

    assert kept.Store(Counting(store.bucket)).verify().ok
    found = {key: count for key, count in reads.items() if key.startswith("blobs/")}
    assert set(found.values()) == {1}
    assert len(found) == 9


def test_a_sample(store, file):
    for n in range(40):
        store.log_artifact("m", file(b"%d" % n * 100))
    report = store.verify(sample="10%")
    assert (report.versions, report.blobs, report.all_blobs) == (40, 4, 40)
    damaged = blobs(store, "m", 7)[0]
    put(store, damaged, flipped(store.bucket.get(damaged)))
    found = [store.verify(sample=0.25).ok for _ in range(60)]
    assert set(found) == {True, False}  # each time another sample
    assert not store.verify(sample=1).ok


def test_a_sample_reads_one_blob_at_least(store, keys):
    assert store.verify(sample=1e-9).blobs == 1


def test_newer_than(store, keys, monkeypatch):
    assert store.verify(newer_than="1h").versions == 7
    assert store.verify(newer_than=0).versions == 0
    put(store, keys[1], b"?")  # the log is checked as a whole
    assert [p.key for p in store.verify(newer_than=0).problems] == [keys[1]]


def test_a_limit_of_the_rate(store, file, monkeypatch):
    """Five blobs of 2 MB at 4 MB/s: the check waits between them, by its own reckoning."""
    clock = Clock()
    monkeypatch.setattr(metered, "time", clock)
    monkeypatch.setattr(content, "time", clock)
    for n in range(5):
        store.log_artifact("m", file(os.urandom(2_000_000), f"{n}"))
    assert store.verify(limit_rate="4MB/s").ok
    assert 2.4 < sum(clock.waits) < 2.7
    clock.waits.clear()
    assert store.verify().ok
    assert sum(clock.waits) == 0


class Clock:
    def __init__(self):
        self.now, self.waits = 100.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample": 0}, {"sample": -1}, {"sample": 1.5}, {"sample": "0%"}, {"sample": "101%"},
        {"sample": "some"}, {"sample": True}, {"sample": None}, {"sample": float("nan")},
        {"newer_than": "soon"}, {"newer_than": -1},
        {"limit_rate": 0}, {"limit_rate": "fast"}, {"limit_rate": "0MB"}, {"limit_rate": -5},
    ],
)  # fmt: skip
def test_options_that_are_not_valid(store, wrong):
    [(name, value)] = wrong.items()
    with pytest.raises(InvalidInput, match=f"^{name} is .*{re.escape(repr(value))}"):
        store.verify(**wrong)


def test_a_manifest_that_names_a_wrong_place(store, tmp_path):
    """It is sealed well, as by a faulty writer: its versions are damaged, others are not."""
    for name in "ab":
        write(tmp_path / "d" / name, name.encode() * 1000)
    sound = store.log_artifact("m", tmp_path / "d")
    data = bytes(store.bucket.get(manifest_of(store, "m:v0"))).replace(b"1000,0,0]", b"1000,0,9]")
    name = digest(data)
    put(store, f"manifests/{name[:2]}/{name}.json", data)
    record = store.log("m").records.read(1)
    facts = {k: record[k] for k in ("type", "digest", "size", "aliases", "metadata", "event")}
    store.log("m").append(facts | {"index": 1, "manifest": name})
    [problem] = store.verify().problems
    assert (problem.where, problem.key) == ("m:v1", manifest_of(store, "m:v1"))
    assert sound.verify().ok


def test_object_storage(s3, file):
    """Several blobs at a time; a damaged, a missing and a forbidden one are named."""
    store = kept.open_store(s3)
    for n in range(12):
        store.log_artifact("m", file(b"%d" % n * 1000))
    flip, gone, forbidden = (blobs(store, "m", n)[0] for n in (2, 3, 4))
    put(store, flip, flipped(store.bucket.get(flip)))
    store.bucket.delete(gone)
    lock, here, most = threading.Lock(), 0, 0

    class Watched(Wrapped):
        def get(self, key, *args):
            nonlocal here, most
            if not key.startswith("blobs/"):
                return self.inner.get(key, *args)
            with lock:
                here += 1
                most = max(most, here)
            try:
                time.sleep(0.02)
                if key == forbidden:
                    raise AccessDenied(f"403 Forbidden: {key}")
                return self.inner.get(key, *args)
            finally:
                with lock:
                    here -= 1

    report = kept.Store(Watched(store.bucket)).verify()
    assert {p.key: p.where for p in report.problems} == {flip: "m:v2", gone: "m:v3"}
    (unread,) = report.unread
    assert (unread.where, unread.key) == ("m:v4", forbidden)
    assert unread.message.startswith(f"{forbidden} could not be read: 403 Forbidden")
    assert report.blobs == 12
    assert 2 <= most <= 8


@pytest.mark.parametrize("error", [AccessDenied, Unreachable])
def test_an_error_of_the_whole_bucket_is_no_damage(store, keys, error):
    class Away(Wrapped):
        def get(self, key, *args):
            if key.startswith("blobs/"):
                self.is_away = True
            if vars(self).get("is_away"):
                raise error("no")
            return self.inner.get(key, *args)

    with pytest.raises(error):
        kept.Store(Away(store.bucket)).verify()
