import pytest

import kept
from kept.errors import Damaged
from kept.store.encoding import seal
from tests.helpers import write


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


def problems(store):
    return [(problem.where, problem.message) for problem in store.verify().problems]


def test_a_sound_store(store, keys):
    progress = []
    report = store.verify(progress=lambda *p: progress.append(p))
    assert report.ok
    report.raise_if_damaged()
    # v0 of m and of other share their chunk, which is read once.
    assert (report.versions, report.chunks, report.bytes) == (7, 6, 6000)
    assert progress == [(n, 7) for n in range(1, 8)]
    assert (store.verify("m:best").versions, store.verify("m:best").bytes) == (1, 1000)


def test_deleted_versions_are_not_read(store, keys):
    store.delete("m:v2")
    assert store.verify().versions == 6


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
    assert store["m"].index == 5
    assert store.verify().versions == 7


def test_records_of_an_unknown_kind(store, keys):
    store.bucket.put(keys[6], [seal({"number": 6, "event": "from the future", "write_id": "x"})])
    [(where, message)] = problems(store)
    assert (where, "from the future" in message) == ("m", True)
    with pytest.raises(Damaged, match=r"from the future.*it is v4; name m:v4"):
        kept.Store(store.bucket)["m"]


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
