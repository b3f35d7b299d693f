"""A version of many files: its list is stored in parts, and only those that changed anew."""

import os

import pytest

import kept
from kept.bucket.local import LocalBucket
from kept.digest import digest
from kept.errors import Damaged, NewerFormat
from kept.store import format_marker
from kept.store.blobs.blob import blob_key, raw_form
from kept.store.content import manifest as manifest_module
from kept.store.content.manifest import Chunk, File, Manifest
from kept.store.content.read_manifest import decode_manifest
from kept.store.encoding import canonical, parse
from kept.sync.mirror.replicate import Sync
from tests.helpers import tree, write

COUNT = 120


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """A list of more than 50 files has parts, of some four files each."""
    monkeypatch.setattr(manifest_module, "MOST_FILES", 50)
    monkeypatch.setattr(manifest_module, "_PART_ENDS", b"\x40\0")


@pytest.fixture
def store(tmp_path):
    return kept.open_store(tmp_path / "store")


@pytest.fixture
def folder(tmp_path):
    for number in range(COUNT):
        write(tmp_path / "in" / f"d{number % 7}" / f"{number:03d}.bin", b"%d" % number * 50)
    return tmp_path / "in"


def put(store, folder, **changed):
    for name, text in changed.items():
        write(folder / f"{name}.bin", text.encode())
    return store.log_artifact("many", folder)


def stored(store):
    return set(store.bucket.keys("blobs/")) | set(store.bucket.keys("manifests/"))


def restored(version, tmp_path):
    """Return its files; the folder that was put is the first part of their paths."""
    return tree(version.download(tmp_path / "out" / f"v{version.index}") / "in")


def part_blob(version):
    return blob_key(version.manifest.parts[0].blob)


def test_a_version_of_many_files_is_read_as_it_was_put(store, folder, tmp_path):
    given = tree(folder)
    version = put(store, folder)
    assert len(version.manifest.parts) > 10
    assert restored(version, tmp_path) == given
    assert store.verify().problems == []


def test_one_changed_file_changes_one_part(store, folder, tmp_path):
    first = put(store, folder)
    before = stored(store)
    given = tree(folder)
    second = put(store, folder, new="a text")
    assert restored(second, tmp_path) == tree(folder)
    assert restored(first, tmp_path) == given
    new = set(second.manifest.parts) - set(first.manifest.parts)
    assert len(new) == 1
    assert len(stored(store) - before) == 3  # the file, its part, the manifest
    assert put(store, folder).index == 1  # nothing changed: no new version


def test_the_content_digest_does_not_depend_on_parts(store, folder, monkeypatch):
    version = put(store, folder)
    monkeypatch.setattr(manifest_module, "MOST_FILES", COUNT)
    other = kept.open_store(folder.parent / "other")
    assert put(other, folder).digest == version.digest
    assert put(other, folder).manifest.parts == ()


def test_gc_keeps_the_parts_of_versions_and_frees_the_others(store, folder, tmp_path):
    put(store, folder)
    second = put(store, folder, new="a text")
    store.delete("many:v0")
    store.gc(grace=0)
    assert restored(second, tmp_path) == tree(folder)
    assert store.verify().problems == []
    only = kept.open_store(tmp_path / "only")
    put(only, folder)
    needed = {blob_key(chunk.blob) for chunk in second.manifest.chunks()}
    assert {key for key in stored(store) if key.startswith("blobs/")} == needed


def test_a_key_that_gc_has_condemned_is_not_used_again(store, folder, tmp_path):
    put(store, folder)
    store.delete("many:v0")
    store.gc(grace=0)
    again = put(store, folder)
    assert restored(again, tmp_path) == tree(folder)
    assert store.verify().problems == []


def test_a_mirror_gets_the_parts_and_their_format(store, folder, tmp_path):
    put(store, folder)
    put(store, folder, new="a text")
    mirror = kept.open_store(tmp_path / "mirror")
    Sync(store, mirror, "many").run()
    assert mirror.verify().problems == []
    assert restored(mirror.version("many:v1"), tmp_path) == tree(folder)
    for each in (store, mirror):
        assert parse(each.bucket.get("kept.json"), "kept.json")["format"] == 3


def test_a_store_without_parts_keeps_its_format(store, folder, monkeypatch):
    monkeypatch.setattr(manifest_module, "MOST_FILES", COUNT)
    put(store, folder)
    assert parse(store.bucket.get("kept.json"), "kept.json")["format"] == 1


def test_a_kept_that_knows_no_parts_refuses_the_store(store, folder, monkeypatch):
    put(store, folder)
    monkeypatch.setattr(format_marker, "EVENTS_FORMAT", 1)
    with pytest.raises(NewerFormat, match="has format 3"):
        kept.open_store(store.location).artifacts()


def test_the_bytes_of_a_store_add_up(store, folder):
    put(store, folder)
    put(store, folder, new="a text")
    found = store.usage()
    saved = found.dedup + found.deltas + found.compression
    assert found.logical + found.overhead == found.stored + saved
    files = [os.path.join(where, name) for where, _, names in os.walk(store.location)
             for name in names if "/blobs/" in where or "/manifests/" in where]  # fmt: skip
    assert found.stored == sum(map(os.path.getsize, files))


def test_compacting_leaves_every_part_readable(store, folder, tmp_path):
    put(store, folder)
    second = put(store, folder, new="a text")
    store.compact()
    assert store.verify().problems == []
    assert restored(second, tmp_path) == tree(folder)


@pytest.mark.parametrize("fault", ["missing", "cut", "swapped"])
def test_a_damaged_part_is_named_and_brought_back_from_a_mirror(store, folder, tmp_path, fault):
    put(store, folder)
    second = put(store, folder, new="a text")
    mirror = kept.open_store(tmp_path / "mirror")
    Sync(store, mirror, "many").run()
    [part] = set(second.manifest.parts) - set(store.version("many:v0").manifest.parts)
    key = blob_key(part.blob)
    whole = bytes(store.bucket.get(key))
    store.bucket.delete(key)
    if fault != "missing":
        store.bucket.put(key, [whole[:-9] + (b"" if fault == "cut" else b"123456789")])
    again = kept.open_store(store.location)
    assert any(key in problem.message for problem in again.verify().problems)
    with pytest.raises(Damaged, match=key):
        again.version("many:v1").download(tmp_path / "no")
    assert restored(again.version("many:v0"), tmp_path)
    again.repair(copies=[mirror.location])
    assert again.verify().problems == []
    assert restored(again.version("many:v1"), tmp_path) == tree(folder)
    assert again.repair().is_empty


def test_a_part_that_is_lost_loses_only_its_versions(store, folder, tmp_path):
    put(store, folder)
    given = tree(folder)
    second = put(store, folder, new="a text")
    [part] = set(second.manifest.parts) - set(store.version("many:v0").manifest.parts)
    store.bucket.delete(blob_key(part.blob))
    again = kept.open_store(store.location)
    assert [problem.where for problem in again.repair().lost] == ["many:v1"]
    assert restored(again.version("many:v0"), tmp_path) == given
    third = put(again, folder)  # the next save writes the part again
    assert restored(third, tmp_path) == tree(folder)


def test_a_damaged_manifest_and_a_damaged_part_at_once(store, folder, tmp_path):
    version = put(store, folder)
    mirror = kept.open_store(tmp_path / "mirror")
    Sync(store, mirror, "many").run()
    store.bucket.delete(part_blob(version))
    [key] = store.bucket.keys("manifests/")
    store.bucket.delete(key)
    again = kept.open_store(store.location)
    again.repair(copies=[mirror.location])
    assert again.verify().problems == []
    assert restored(again.version("many:v0"), tmp_path) == tree(folder)


def test_a_lost_marker_is_written_again_with_the_right_format(store, folder):
    put(store, folder)
    store.bucket.delete("kept.json")
    again = kept.open_store(store.location)
    again.repair()
    assert parse(again.bucket.get("kept.json"), "kept.json")["format"] == 3


A, B = digest(b"a"), digest(b"b")
MALFORMED = {
    "no parts": {"blobs": [], "parts": []},
    "files too": {"blobs": [], "parts": [[A, 1]], "files": []},
    "no list": {"blobs": [], "parts": {}},
    "no digest": {"blobs": [], "parts": [["a", 1]]},
    "too large": {"blobs": [], "parts": [[A, 60_000_000]] * 2},
    "missing": {"blobs": [], "parts": [[A, 1]]},
}


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_list_of_parts_is_damage(store, value):
    with pytest.raises(Damaged, match=r"manifests/x\.json|blobs/"):
        decode_manifest(canonical(value), "manifests/x.json", store.bucket)


@pytest.mark.parametrize("parts", [
    [Manifest((File("b", 0, ()),)), Manifest((File("a", 0, ()),))],
    [Manifest((File("a", 0, ()),)), Manifest((File("a", 0, ()),))],
    [Manifest((File("a", 0, ()),)), Manifest((File("a/b", 0, ()),))],
    [Manifest((), (Chunk(B, 1, B),))],
], ids=["order", "twice", "folder", "nested"])  # fmt: skip
def test_parts_that_make_no_list_are_damage(store, folder, parts):
    bucket = LocalBucket(folder.parent / "bucket")
    chunks = []
    for part in parts:
        raw = part.encode()
        bucket.put(blob_key(digest(raw)), raw_form([raw]))
        chunks.append(Chunk(digest(raw), len(raw), digest(raw)))
    data = Manifest((), tuple(chunks)).encode()
    with pytest.raises(Damaged, match=r"manifests/x\.json is not"):
        decode_manifest(data, "manifests/x.json", bucket)
