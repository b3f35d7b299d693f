import json
import math
import os
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import kept
from kept import errors
from kept.bucket.memory import MemoryBucket
from kept.store.content import packing
from kept.store.content.manifest import manifest_key
from kept.store.metadata import MeasuredMetadata
from tests.helpers import Wrapped, arrays, hdf5, tree, write


def aliases(store, name="m"):
    return {alias: version.index for alias, version in store.artifact(name).aliases.items()}


# --- logging --------------------------------------------------------------------------------------


def test_a_version_has_what_was_logged(store, file):
    before = datetime.now(UTC)
    version = store.log_artifact(
        "m", file(b"x" * 100), aliases=["best", "a"], metadata={"epoch": 3}
    )
    assert (version.name, version.version, version.index, version.reference) == (
        "m",
        "v0",
        0,
        "m:v0",
    )
    assert (version.type, version.size, version.metadata) == ("model", 100, {"epoch": 3})
    assert version.aliases == ("latest", "a", "best")
    assert [(f.path, f.size) for f in version.files] == [("model.bin", 100)]
    assert before <= version.created_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert version == store.version("m") == store["m:v0"] == store.version("m:best")
    assert version == store[f"m@{version.digest}"] == store[f"m@{version.digest[:8]}"]
    assert repr(version) == "<kept.Version m:v0 latest, a, best>"
    assert version.verify().bytes == 100


def test_versions_count_up_and_aliases_move(store, file):
    for n in range(5):
        version = store.log_artifact("m", file(b"%d" % n), aliases=["best", f"epoch_{n}"])
        assert version.index == n
    assert aliases(store) == {"latest": 4, "best": 4} | {f"epoch_{n}": n for n in range(5)}
    assert [v.version for v in store.versions("m")] == ["v0", "v1", "v2", "v3", "v4"]
    assert store["m:v1"].aliases == ("epoch_1",)
    assert store.set_alias("m:v1", "best").aliases == ("best", "epoch_1")
    assert aliases(store)["best"] == 1
    store.remove_alias("m", "best")
    assert "best" not in aliases(store)
    for unset in (lambda: store.remove_alias("m", "best"), lambda: store["m:best"]):
        with pytest.raises(errors.VersionNotFound, match="'best'"):
            unset()


def test_artifacts_are_listed_by_name(store, file):
    for name in ("b", "a-b", "a", "B"):
        store.log_artifact(name, file(b"x"), type="dataset" if name == "b" else "model")
    assert [(a.name, a.type) for a in store.artifacts()] == [
        ("B", "model"), ("a", "model"), ("a-b", "model"), ("b", "dataset")
    ]  # fmt: skip
    assert store.version("a") != store.version("b")


def test_the_same_content_makes_no_new_version(store, file):
    first = store.log_artifact("m", file(b"x"), aliases=["a"], metadata={"n": 1})
    keys = list(store.bucket.keys(""))
    assert store.log_artifact("m", file(b"x"), metadata={"n": 2}) == first
    assert list(store.bucket.keys("")) == keys
    again = store.log_artifact("m", file(b"x"), aliases=["best"], metadata={"n": 2})
    assert (again, again.aliases, again.metadata) == (first, ("latest", "a", "best"), {"n": 1})
    store.log_artifact("m", file(b"y"), aliases=["best"])
    assert store.log_artifact("m", file(b"x"), aliases=["best"]).index == 2  # not the newest: new
    assert aliases(store) == {"latest": 2, "best": 2, "a": 0}


def test_the_same_bytes_under_another_name_are_other_content(store, file):
    store.log_artifact("m", file(b"x", "a"))
    assert store.log_artifact("m", file(b"x", "b")).index == 1


def test_the_commit_reports_what_it_added(store, file):
    given = [b"x" * 1000, b"x" * 1000, b"y" * 500]
    made = [store.log_artifact("m", file(data)) for data in given]
    assert [(v.index, v.is_new, v.bytes_new) for v in made] == [
        (0, True, 1000),
        (0, False, 0),
        (1, True, 500),
    ]
    looked_up = store.version("m")
    assert (looked_up.is_new, looked_up.bytes_new) == (None, None)
    assert looked_up == made[2]


def test_measured_metadata_is_completed_by_the_commit(store, file):
    started = time.perf_counter()
    own = {"n": 1, "stall_seconds": 0.5}
    names = ("stall_seconds", "write_seconds")
    store.log_artifact("m", file(b"x" * 1000), metadata=MeasuredMetadata(own, started, names))
    found = store.version("m").metadata
    assert 0 < found.pop("write_seconds") < 60
    assert found == {"n": 1, "stall_seconds": 0.5, "bytes_new": 1000}  # given values come first


def test_measured_metadata_is_checked(store, file):
    with pytest.raises(errors.InvalidMetadata):
        store.log_artifact("m", file(b"x"), metadata=MeasuredMetadata({"n": object()}, 0.0))
    assert store.artifacts() == []


def test_metadata_is_kept_as_json(store, file):
    metadata = {"loss": np.float32(0.5), "nan": math.nan, "inf": -math.inf, "shape": (1, 2)}
    store.log_artifact("m", file(b"x"), metadata=metadata)
    assert store.version("m").metadata == {
        "loss": 0.5,
        "nan": "nan",
        "inf": "-inf",
        "shape": [1, 2],
    }


def test_files_and_folders_are_stored_under_their_own_names(store, tmp_path):
    write(tmp_path / "in/saved/variables/data", b"1")
    write(tmp_path / "in/saved/saved_model.pb", b"2")
    write(tmp_path / "in/saved/.hidden", b"")
    write(tmp_path / "in/other/deep/f.txt", b"3")
    os.symlink(tmp_path / "in/other/deep/f.txt", tmp_path / "in/link.txt")
    paths = [tmp_path / "in/saved", str(tmp_path / "in/other/deep/f.txt"), tmp_path / "in/link.txt"]
    version = store.log_artifact("m", paths)
    expected = {"saved/variables/data": b"1", "saved/saved_model.pb": b"2", "saved/.hidden": b"",
                "f.txt": b"3", "link.txt": b"3"}  # fmt: skip
    assert [f.path for f in version.files] == sorted(expected)
    assert tree(version.download(tmp_path / "out")) == expected
    assert store.log_artifact("m", reversed(paths)) == version


def test_many_small_files_and_empty_ones(store, tmp_path):
    for n in range(1500):
        write(tmp_path / f"d/{n % 7}/{n}", b"%d" % n * (n % 3))
    version = store.log_artifact("m", tmp_path / "d")
    assert len(list(store.bucket.keys("blobs/"))) == 1
    assert tree(version.download(tmp_path / "out") / "d") == tree(tmp_path / "d")
    write(tmp_path / "empty", b"")
    version = store.log_artifact("empty", tmp_path / "empty")
    assert version.size == 0
    assert tree(version.download(tmp_path / "out2")) == {"empty": b""}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (errors.InvalidName, {"name": "a/b"}),
        (errors.InvalidName, {"name": ".."}),
        (errors.InvalidName, {"type": ""}),
        (errors.InvalidName, {"aliases": ["v3"]}),
        (errors.InvalidName, {"aliases": "best"}),
        (errors.InvalidName, {"aliases": ["a b"]}),
        (errors.InvalidMetadata, {"metadata": {"a": object()}}),
        (errors.InvalidMetadata, {"metadata": lambda _: {"a": object()}}),
        (errors.InvalidInput, {"name": "other", "type": "dataset"}),
        (errors.InvalidPath, {"paths": []}),
    ],
)
def test_bad_input_makes_no_version(store, file, error, arguments):
    store.log_artifact("other", file(b"x"))
    log = list(store.bucket.keys("artifacts/"))
    with pytest.raises(error, match="Received: "):
        store.log_artifact(**({"name": "m", "paths": file(b"y")} | arguments))
    assert list(store.bucket.keys("artifacts/")) == log
    assert [a.name for a in store.artifacts()] == ["other"]


def bad_paths(root):
    write(root / "a/f", b"1")
    write(root / "b/f", b"2")
    write(root / "c/F", b"3")
    write(root / "back/a\\b", b"4")
    write(root / "dot/f.", b"5")
    (root / "nothing/in/here").mkdir(parents=True)
    write(root / "outside/deep/f", b"6")
    (root / "linked").mkdir()
    write(root / "linked/f", b"7")
    os.symlink(root / "outside/deep", root / "linked/folder")
    (root / "dangling").mkdir()
    os.symlink(root / "missing", root / "dangling/link")
    (root / "special").mkdir()
    os.mkfifo(root / "special/pipe")
    return {
        "missing": [root / "missing"],
        "same name": [root / "a/f", root / "b/f"],
        "same path": [root / "a/f", root / "a/f"],
        "case": [root / "a/f", root / "c/F"],
        "backslash": [root / "back"],
        "dot at the end": [root / "dot"],
        "empty folder": [root / "nothing"],
        "link to a folder": [root / "linked"],
        "dangling link": [root / "dangling"],
        "dangling": [root / "dangling/link"],
        "pipe": [root / "special"],
        "pipe itself": [root / "special/pipe"],
        "device": ["/dev/null"],
    }


@pytest.mark.parametrize(
    "case",
    ["missing", "same name", "same path", "case", "backslash", "dot at the end", "empty folder",
     "link to a folder", "dangling link", "dangling", "pipe", "pipe itself", "device"],
)  # fmt: skip
def test_paths_that_cannot_be_stored(store, tmp_path, case):
    with pytest.raises(errors.InvalidPath, match="Received: "):
        store.log_artifact("m", bad_paths(tmp_path)[case])
    assert list(store.bucket.keys("")) == []


def test_a_folder_that_cannot_be_read_is_not_left_out(store, tmp_path, monkeypatch):
    write(tmp_path / "d/secret/f", b"1")
    write(tmp_path / "d/f", b"2")
    real = os.scandir

    def guarded(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(PermissionError):
        store.log_artifact("m", tmp_path / "d")
    assert list(store.bucket.keys("")) == []


@pytest.mark.parametrize("how", ["grown", "cut", "written over", "replaced"])
def test_a_file_that_changes_while_it_is_stored(store, file, monkeypatch, how):
    path = file(b"a" * 6_000_000)
    real = packing.cut

    def changing(opened):
        ranges = real(opened)
        if how == "replaced":  # which is how to do it: the old file stays whole for its reader
            write(path.with_name("new"), b"b").replace(path)
        else:
            new = {"grown": b"a" * 6_000_001, "cut": b"a", "written over": b"b" * 6_000_000}[how]
            path.write_bytes(new)
            os.utime(path, ns=(1, 1))  # the clock of files may be too coarse for a test
        return ranges

    monkeypatch.setattr(packing, "cut", changing)
    if how == "replaced":
        assert store.log_artifact("m", path).size == 6_000_000
        return
    with pytest.raises(errors.InvalidPath, match="changed while it was being stored"):
        store.log_artifact("m", path)
    assert store.artifacts() == []


def test_an_artifact_keeps_its_type_even_when_all_versions_are_deleted(store, file):
    store.log_artifact("m", file(b"x"), type="dataset")
    store.delete("m:v0")
    with pytest.raises(errors.InvalidInput, match=r"type 'dataset'.*Received: type='model'"):
        store.log_artifact("m", file(b"y"))


@pytest.mark.parametrize("step", range(4))
def test_a_write_that_fails_makes_no_version(file, step):
    """The k-th write fails: kept.json, the blobs, the manifest, the record."""

    class Failing(Wrapped):
        calls = 0

        def __getattribute__(self, name):
            if name.startswith("put"):
                self.calls += 1
                if self.calls == step + 1:
                    raise OSError(28, "No space left on device")
            return super().__getattribute__(name)

    inner = MemoryBucket()
    with pytest.raises(OSError, match="No space"):
        kept.Store(Failing(inner)).log_artifact("m", file(b"x"), aliases=["best"])
    store = kept.Store(inner)
    assert store.artifacts() == []
    assert store.verify().ok
    assert store.log_artifact("m", file(b"x"), aliases=["best"]).reference == "m:v0"
    assert store.verify().ok


# --- looking up -----------------------------------------------------------------------------------


def test_errors_say_what_there_is(store, file):
    with pytest.raises(errors.ArtifactNotFound, match=r"'m'.*The store is empty"):
        store.version("m:v0")
    for n in range(3):
        store.log_artifact("m", file(b"%d" % n), aliases=[f"epoch_{n}"])
    store.log_artifact("digits", file(b"x"))
    with pytest.raises(
        errors.ArtifactNotFound, match=r"No artifact 'x'.*Existing artifacts: digits, m"
    ):
        store.artifact("x")
    for reference, selector in {"m:v3": "v3", "m:best": "best", "m@00000000": "00000000"}.items():
        with pytest.raises(errors.VersionNotFound) as caught:
            store.version(reference)
        for part in (repr(selector), "3 versions", "v0 to v2", "latest, epoch_2, epoch_1, epoch_0"):
            assert part in str(caught.value)
    with pytest.raises(errors.InvalidReference, match="Received: 'm:'"):
        store["m:"]
    for method, *rest in (
        ["versions"],
        ["delete"],
        ["verify"],
        ["set_alias", "a"],
        ["remove_alias", "a"],
    ):
        with pytest.raises(errors.ArtifactNotFound, match="'none'"):
            getattr(store, method)("none", *rest)


def test_a_reader_asks_an_empty_store_nothing(tmp_path):
    store = kept.open_store(tmp_path / "new")
    assert store.artifacts() == []
    assert store.verify().ok
    with pytest.raises(errors.ArtifactNotFound):
        store.version("m")
    assert not (tmp_path / "new").exists()


def test_two_store_objects_see_each_other(tmp_path, file):
    one, two = (kept.open_store(tmp_path / "s") for _ in range(2))
    for n in range(6):
        version = (one, two)[n % 2].log_artifact("m", file(b"%d" % n))
        assert one.version("m") == two.version("m") == version
        assert version.index == n


def test_a_digest_names_the_newest_version_of_that_content(store, file):
    digest = store.log_artifact("m", file(b"x")).digest
    store.log_artifact("m", file(b"y"))
    store.log_artifact("m", file(b"x"))
    assert store[f"m@{digest[:20]}"].index == 2


# --- deleting -------------------------------------------------------------------------------------


def test_deleted_versions_are_gone_and_their_numbers_too(store, file):
    for n in range(3):
        store.log_artifact("m", file(b"%d" % n), aliases=["best"] if n == 1 else ())
    with pytest.raises(errors.InvalidReference, match=r"kept rm --artifact m.*Received: 'm'"):
        store.delete("m")
    assert store.delete("m:latest").version == "v2"
    assert aliases(store) == {"best": 1, "latest": 1}
    with pytest.raises(errors.VersionNotFound, match="v2 was deleted"):
        store["m:v2"]
    with pytest.raises(errors.VersionInUse, match="m:v1 has the aliases best"):
        store.delete("m:v1")
    store.delete("m:v1", force=True)
    with pytest.raises(errors.VersionNotFound, match="'best': v1 was deleted"):
        store["m:best"]
    assert [v.index for v in store.versions("m")] == [0]
    # Content of the newest version that is left makes none; that of a deleted one does.
    assert store.log_artifact("m", file(b"0")).index == 0
    assert store.log_artifact("m", file(b"2")).index == 3
    store.delete("m:v0")
    store.delete("m:v3")
    assert store.versions("m") == []
    with pytest.raises(errors.VersionNotFound, match="no version: all 4 were deleted"):
        store.version("m")
    assert store.log_artifact("m", file(b"0")).index == 4
    assert store.verify().versions == 1


# --- opening --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [str, lambda p: p, lambda p: p.as_uri()])
def test_locations(tmp_path, make, file):
    root = tmp_path / "a store"
    kept.open_store(make(root)).log_artifact("m", file(b"x"))
    assert json.loads((root / "kept.json").read_text())["format"] == 1
    assert kept.open_store(root).location == str(root)
    assert kept.open_store(root).version("m") == kept.open_store(make(root)).version("m")


def test_the_default_location(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEPT_STORE", raising=False)
    assert kept.open_store().location == str(tmp_path / "kept-store")
    monkeypatch.setenv("KEPT_STORE", str(tmp_path / "other"))
    assert kept.open_store().location == str(tmp_path / "other")
    assert kept.open_store("memory:").location == "memory:"


@pytest.mark.parametrize(
    "location", ["s4://bucket/x", "ftp://x", "file://host/x", "file://relative"]
)
def test_locations_that_are_not_supported(location):
    with pytest.raises(errors.InvalidInput, match="Received: "):
        kept.open_store(location)


@pytest.mark.parametrize(
    "name", ["notes.txt", "deep/er/model.keras", "artifacts/m/x", ".git/config"]
)
def test_a_folder_with_other_things_is_no_store(tmp_path, name):
    write(tmp_path / name, b"x")
    with pytest.raises(errors.NotAStore, match="is not a store") as caught:
        kept.open_store(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert tree(tmp_path) == {name: b"x"}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"format": 4}', errors.NewerFormat),
        ('{"format": 1000}', errors.NewerFormat),
        ('{"format": 0}', errors.NotAStore),
        ('{"format": "1"}', errors.NotAStore),
        ('{"format": true}', errors.NotAStore),
        ('{"format": 1.0}', errors.NotAStore),
        ("{}", errors.NotAStore),
        ("[1]", errors.NotAStore),
        ("", errors.Damaged),
        ('{"format"', errors.Damaged),
    ],
)
def test_a_store_of_another_format(tmp_path, content, error):
    write(tmp_path / "kept.json", content.encode())
    with pytest.raises(error) as caught:
        kept.open_store(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "kept.json" in str(caught.value) or "format" in str(caught.value)


def test_unknown_keys_in_kept_json_are_no_hindrance(tmp_path, file):
    write(tmp_path / "kept.json", b'{"format": 1, "by": "somebody"}')
    assert kept.open_store(tmp_path).log_artifact("m", file(b"x")).index == 0


def test_a_store_that_appears_while_it_is_opened(file):
    """Two processes start at once: between two calls of the one, the other makes the store."""

    class Appearing(Wrapped):
        def keys(self, *args):
            if not list(self.inner.keys("")):
                kept.Store(self.inner).log_artifact("m", file(b"x"))
            return self.inner.keys(*args)

    store = kept.Store(Appearing(MemoryBucket()))
    assert store.version("m").index == 0


def test_a_writer_killed_before_its_first_record_leaves_no_artifact(tmp_path, file):
    store = kept.open_store(tmp_path / "s")
    store.log_artifact("m", file(b"x"))
    (tmp_path / "s/artifacts/killed/log").mkdir(parents=True)
    assert [(a.name, a.type) for a in store.artifacts()] == [("m", "model")]
    with pytest.raises(errors.ArtifactNotFound, match="Existing artifacts: m"):
        store.version("killed")
    assert store.verify().ok


# --- what the store already has -------------------------------------------------------------------


def blob_sizes(store):
    return sorted(store.bucket.size(key) for key in store.bucket.keys("blobs/"))


def test_equal_files_are_stored_once(store, tmp_path):
    big = os.urandom(2_000_000)
    for name in ("a", "b", "c/d"):
        write(tmp_path / "d" / name, big)
    store.log_artifact("m", tmp_path / "d")
    store.log_artifact("other", write(tmp_path / "e", big))
    assert blob_sizes(store) == [2_000_000 + 16]


def test_small_chunks_are_found_again_in_the_newest_version(store, file):
    tensors = arrays(1, a=200_000, b=300_000)
    store.log_artifact("m", file(hdf5(tensors)))
    before = sum(blob_sizes(store))
    for _ in range(5):
        tensors["b"] = tensors["b"] + 1
        store.log_artifact("m", file(hdf5(tensors)))
    assert sum(blob_sizes(store)) - before <= 5 * (300_000 + 8192)
    assert store.verify().ok


@pytest.mark.parametrize(
    "harm", ["missing", "zero length", "cut", "manifest missing", "manifest damaged"]
)
@pytest.mark.parametrize("size", [40_000, 2_000_000])
@pytest.mark.parametrize("which", [0, 1])
def test_content_whose_blobs_were_lost_is_stored_again(store, file, tmp_path, harm, size, which):
    """Bytes that a person or a power cut has removed count as new again."""
    tensors = arrays(1, a=size, b=size)
    store.log_artifact("m", file(hdf5(tensors)))
    first = set(store.bucket.keys("blobs/"))
    tensors["b"] = tensors["b"] + 1
    path = file(hdf5(tensors))
    lost = store.log_artifact("m", path)
    blobs = first if which == 0 else set(store.bucket.keys("blobs/")) - first
    keys = [manifest_key(lost.record.manifest)] if "manifest" in harm else blobs
    for key in keys:
        value = store.bucket.get(key)
        store.bucket.delete(key)
        if "missing" not in harm:
            store.bucket.put(key, [b"" if harm == "zero length" else value[: len(value) // 2]])
    found = kept.Store(store.bucket).log_artifact("m", path, aliases=["best"])
    assert found.verify().ok
    assert found == store["m:best"] == store.version("m")
    assert tree(found.download(tmp_path / "out")) == tree(tmp_path / "given")


def test_an_artifact_that_is_being_made_is_no_matter_to_the_others(store, file):
    """A gc has put its fence into a log whose first version is not committed yet."""
    store.log_artifact("m", file(b"x"))
    store.log("making").append({"event": "alias", "aliases": {}})
    assert [artifact.name for artifact in store.artifacts()] == ["m"]
    assert [*store.usage().frees] == [("m", 0)]
    assert store.compact().blobs == 0
    assert store.verify().ok
    for ask in (store.usage, store.compact, store.versions):
        with pytest.raises(errors.ArtifactNotFound):
            ask("making")


def test_a_message_says_what_is_wrong_and_what_exists(store, file):
    store.log_artifact("m", file(b"x"))
    with pytest.raises(errors.VersionNotFound, match=r"It has one version, v0, and the aliases"):
        store.version("m:best")
    with pytest.raises(errors.InvalidName, match=r"^A type has 1 to 128 characters"):
        store.log_artifact("m", file(b"x"), type="no type")


def test_metadata_and_provenance_may_be_changed_by_their_reader(store, file):
    """The log in memory stays as it is, and so do the records and pages that follow."""
    for n in range(63):
        version = store.log_artifact("m", file(b"%d" % n), metadata={"n": n, "deep": {"n": [n]}})
    version.metadata["n"] = "changed"
    version.metadata["deep"]["n"].append("changed")
    version.provenance["host"] = "changed"
    for n in range(63, 65):  # the first one writes a page
        store.log_artifact("m", file(b"%d" % n))
    fresh = kept.open_store(store.location) if store.location.startswith("/") else store
    assert fresh.verify().ok
    assert fresh.version("m:v62").metadata == {"n": 62, "deep": {"n": [62]}}
    assert fresh.version("m:v62").provenance.get("host") != "changed"
