"""Getting files back: all of them and right, or an error that names the damage and no trace."""

import errno
import os
import shutil

import pytest

import kept
from kept.bucket.local import LocalBucket
from kept.digest import digest
from kept.errors import Damaged, InvalidPath
from kept.store.blobs.blob import blob_key, raw_form
from kept.store.blobs.header import MOST
from kept.store.content import restore as restoring
from kept.store.content.manifest import Chunk, File, Manifest
from kept.store.content.read_manifest import decode_manifest
from kept.store.content.restore import restore
from tests.helpers import arrays, finish, hdf5, start, tree, write


@pytest.fixture
def given(tmp_path):
    """What is stored: a blob of its own, two packs, a small file twice, and an empty one."""
    folder = tmp_path / "given"
    write(folder / "big.bin", os.urandom(1_100_000))
    write(folder / "d/model.weights.h5", hdf5(arrays(1, a=400_000, b=900, c=700_000)))
    write(folder / "d/e/blocks.bin", os.urandom(900_000) * 5)
    write(folder / "small", b"small")
    write(folder / "twice", b"small")
    write(folder / "empty", b"")
    return folder


@pytest.fixture
def location(tmp_path, given, small_pages):
    """A store with a page, and with an older version, so that two packs make the newest."""
    store = kept.open_store(tmp_path / "store")
    write(given / "d/model.weights.h5", hdf5(arrays(1, a=400_000, b=900, c=700_000)))
    store.log_artifact("m", given)
    write(given / "small", b"other")
    store.log_artifact("m", given, aliases=["best"])
    for alias in ("a", "b", "c"):
        store.set_alias("m", alias)
    return tmp_path / "store"


def fetch(location, target):
    return kept.open_store(location)["m:v1"].download(target)


def test_everything_comes_back(location, given, tmp_path):
    progress = []
    version = kept.open_store(location).version("m")
    assert version.download(tmp_path / "out/deep", progress=lambda *p: progress.append(p))
    assert tree(tmp_path / "out/deep") == {f"given/{p}": data for p, data in tree(given).items()}
    assert progress == sorted(progress)
    assert progress[-1] == (version.size, version.size)
    assert os.listdir(tmp_path / "out/deep") == ["given"]


def test_files_are_replaced_and_others_left_alone(location, given, tmp_path):
    out = tmp_path / "out"
    write(out / "given/small", b"an older one")
    write(out / "given/mine", b"mine")
    write(out / "elsewhere", b"not to be written through")
    (out / "given/empty").symlink_to(out / "elsewhere")
    fetch(location, out)
    expected = {f"given/{p}": data for p, data in tree(given).items()}
    assert tree(out) == expected | {
        "given/mine": b"mine",
        "elsewhere": b"not to be written through",
    }
    assert not (out / "given/empty").is_symlink()


def harms(data):
    """Ways to damage a stored file; None deletes it."""
    places = {0, 3, 4, 5, 7, 8, 14, 16, len(data) // 2, len(data) - 2, len(data) - 1}
    for at in sorted(place for place in places if 0 <= place < len(data)):
        yield f"bit {at}", data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
    yield "cut", data[:-1]
    yield "half", data[: len(data) // 2]
    yield "empty", b""
    yield "zeros", bytes(len(data))
    yield "longer", data + b"\0"
    yield "deleted", None


def test_damage_to_any_stored_file_is_found_and_named(location, given, tmp_path):
    expected = {f"given/{p}": data for p, data in tree(given).items()}
    entry = kept.open_store(location)["m:v1"].record
    needed = {c.blob for c in kept.open_store(location)["m:v1"].manifest.chunks()} | {
        entry.manifest
    }
    stored = tree(location)
    newest_record = max(key for key in stored if "/log/" in key)
    kinds = {"kept.json": 0, "blobs": 0, "manifests": 0, "log": 0, "state": 0}
    for key, data in stored.items():
        if key.startswith("tmp/"):
            continue
        kind = key.split("/")[2] if key.startswith("artifacts") else key.split("/")[0]
        for name, damaged in harms(data):
            kinds[kind] += 1
            write(location / key, damaged) if damaged is not None else (location / key).unlink()
            check_damage(
                location, tmp_path / "out", key, kind, name, newest_record, needed, expected
            )
            write(location / key, data)
    assert min(kinds.values()) >= 10
    assert tree(fetch(location, tmp_path / "out")) == expected
    assert kept.open_store(location).verify().ok


def check_damage(location, out, key, kind, name, newest_record, needed, expected):
    report = kept.open_store(location).verify()
    if (kind, name) == ("state", "deleted") or (key, name) == (newest_record, "deleted"):
        assert report.ok  # a page is a cache; a log without its last record is an older log
    elif kind != "kept.json" or report.problems:  # a changed letter of a key there has no effect
        assert key in "\n".join(map(str, report.problems)), (key, name)
    if kind in ("blobs", "manifests") and any(name in key for name in needed):
        with pytest.raises(Damaged, match=key):
            fetch(location, out)
        with pytest.raises(Damaged, match=key):
            kept.open_store(location)["m:v1"].verify()
        assert not out.exists()
    else:  # the damage is to what this version does not need, or there is a copy of it
        assert tree(fetch(location, out)) == expected
        shutil.rmtree(out)


@pytest.mark.parametrize("existing", [True, False])
def test_nothing_is_left_of_a_download_that_failed(location, tmp_path, existing):
    out = tmp_path / "out"
    before = {"given/small": b"older", "mine": b"mine"} if existing else {}
    for path, data in before.items():
        write(out / path, data)
    key = max(tree(location / "blobs"), key=lambda path: (location / "blobs" / path).stat().st_size)
    (location / "blobs" / key).unlink()
    with pytest.raises(Damaged, match=key):
        fetch(location, out)
    assert out.exists() == existing
    assert tree(out) == before
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["given", "store", *(["out"] if existing else [])]
    )


def a_link_out(out, outside):
    out.mkdir()
    (out / "given").symlink_to(outside)


def a_dangling_link_out(out, outside):
    out.mkdir()
    (out / "given").symlink_to(outside / "new")


def a_link_deep_inside(out, outside):
    (out / "given/d").mkdir(parents=True)
    (out / "given/d/e").symlink_to(outside)


def a_link_in_circles(out, outside):
    out.mkdir()
    (out / "given").symlink_to("given")


def a_folder_for_a_file(out, outside):
    (out / "given/twice").mkdir(parents=True)


def a_file_for_a_folder(out, outside):
    write(out / "given/d", b"a file")


def a_file_for_the_first_folder(out, outside):
    write(out / "given", b"a file")


@pytest.mark.parametrize(
    "obstacle",
    [a_link_out, a_dangling_link_out, a_link_deep_inside, a_link_in_circles, a_folder_for_a_file,
     a_file_for_a_folder, a_file_for_the_first_folder],
)  # fmt: skip
def test_what_is_in_the_way_stops_it_before_anything_is_written(location, tmp_path, obstacle):
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    obstacle(out, outside)
    before = sorted(out.rglob("*"))
    with pytest.raises(InvalidPath, match="Received: 'given/"):
        fetch(location, out)
    assert sorted(out.rglob("*")) == before
    assert list(outside.iterdir()) == []


def test_a_link_within_the_target_is_followed(location, given, tmp_path):
    (tmp_path / "out/real").mkdir(parents=True)
    (tmp_path / "out/given").symlink_to("real")
    (tmp_path / "alias").symlink_to("out")
    fetch(location, tmp_path / "alias")
    assert tree(tmp_path / "out/real") == tree(given)


FULL_DISK = """
import resource, sys, kept
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
try:
    kept.open_store(sys.argv[1]).version("m").download(sys.argv[2])
except OSError as error:
    print("refused", error.errno, error.filename)
"""


def test_a_disk_that_takes_half_of_a_chunk(tmp_path, given):
    """write(2) then stores what fits, says how much, and fails only if it is called again."""
    kept.open_store(tmp_path / "s").log_artifact("m", write(tmp_path / "f", os.urandom(4_000_000)))
    [line] = finish(start(FULL_DISK, tmp_path / "s", tmp_path / "out"))
    assert line.startswith("refused")
    assert not (tmp_path / "out").exists()


def test_an_error_of_the_operating_system_names_the_file(tmp_path, given):
    kept.open_store(tmp_path / "s").log_artifact("m", write(tmp_path / "f", os.urandom(4_000_000)))
    [line] = finish(start(FULL_DISK, tmp_path / "s", tmp_path / "out"))
    assert line == f"refused {errno.EFBIG} {tmp_path / 'out' / 'f'}"


A, B = digest(b"a"), digest(b"b")
CLAIMS = """
import resource, sys
from pathlib import Path
from kept.bucket.local import LocalBucket
from kept.errors import Damaged
from kept.store.content.read_manifest import decode_manifest
from kept.store.content.restore import restore
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000_000, 100_000_000))
bucket = LocalBucket(sys.argv[1])
manifest = decode_manifest(Path(sys.argv[2]).read_bytes(), "manifest", bucket)
try:
    restore(bucket, manifest, Path(sys.argv[3]), None)
except Damaged as error:
    print(error)
"""


def test_what_a_manifest_claims_and_the_store_lacks_is_damage(tmp_path):
    """A file of 64 TB, whose first and last bytes exist: no disk can hold it."""
    bucket, whole = LocalBucket(tmp_path / "store"), os.urandom(1000)
    bucket.put(blob_key(digest(whole)), [*raw_form([whole])])
    chunk, missing = Chunk(digest(whole), 1000, digest(whole)), Chunk(A, MOST, A)
    chunks = (*[missing] * 200_000, chunk)  # the last one is written first
    files = File("e", 1000, (chunk,)), File("f", sum(c.size for c in chunks), chunks)
    manifest = Manifest(files)
    write(tmp_path / "manifest", manifest.encode())
    out = tmp_path / "out"
    [line] = finish(start(CLAIMS, bucket.location, tmp_path / "manifest", out))
    assert blob_key(A) in line
    assert "missing" in line
    assert not out.exists()


@pytest.mark.parametrize("path", ["../f", "/f", "a/../../f", "a\\f", "con"])
def test_a_manifest_that_leads_out_of_the_target(store, tmp_path, path):
    """A hostile store: every digest is right, and the path is not."""
    with pytest.raises(Damaged, match="path in a version"):
        decode_manifest(Manifest((File(path, 0, ()),)).encode(), "manifests/x.json", store.bucket)


@pytest.mark.parametrize(
    "change", [{"size": 3}, {"size": 9}, {"offset": 1}, {"offset": 99}, {"digest": "0" * 64}]
)
def test_a_chunk_that_is_not_where_it_is_said_to_be(store, tmp_path, change):
    raw = b"0123456789"
    blob = digest(raw)
    store.bucket.put(f"blobs/{blob[:2]}/{blob}", raw_form([raw]))
    right = {"digest": digest(raw[2:6]), "size": 4, "blob": blob, "offset": 2}
    for fields, is_right in ((right, True), (right | change, False)):
        chunk = Chunk(**fields)
        manifest = Manifest((File("f", chunk.size, (chunk,)),))
        if is_right:
            restore(store.bucket, manifest, tmp_path / "right", None)
            assert tree(tmp_path / "right") == {"f": b"2345"}
        else:
            with pytest.raises(Damaged, match=blob):
                restore(store.bucket, manifest, tmp_path / "wrong", None)
            assert not (tmp_path / "wrong").exists()


def test_a_chunk_that_is_only_a_part_of_the_blob_of_its_name(store, tmp_path):
    """The chunk [name, 3] of a blob of that name with 10 bytes: its bytes have another digest."""
    raw = b"0123456789"
    store.bucket.put(blob_key(digest(raw)), raw_form([raw]))
    for size, offset in ((3, 0), (9, 1)):
        chunk = Chunk(digest(raw), size, digest(raw), offset)
        with pytest.raises(Damaged, match="does not hold chunk"):
            restore(store.bucket, Manifest((File("f", size, (chunk,)),)), tmp_path / "out", None)
        with pytest.raises(Damaged, match="does not hold chunk"):
            restoring.ChunkReader(store.bucket).read(chunk)


def test_a_reader_keeps_few_bytes_of_packs(store, monkeypatch):
    monkeypatch.setattr(restoring, "_PACKS_IN_MEMORY", 2500)
    raws = [bytes([n]) * 1000 for n in range(3)]
    for raw in raws:
        store.bucket.put(blob_key(digest(raw)), raw_form([raw]))
    reads, read_blob = [], restoring.read_blob
    monkeypatch.setattr(
        restoring, "read_blob", lambda bucket, name: reads.append(name) or read_blob(bucket, name)
    )
    reader = restoring.ChunkReader(store.bucket)
    for n in (0, 0, 1, 0, 2, 0, 1):
        assert reader.read(Chunk(digest(raws[n][:9]), 9, digest(raws[n]))) == raws[n][:9]
    assert reads == [digest(raws[n]) for n in (0, 1, 2, 1)]
