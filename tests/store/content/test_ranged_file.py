"""A file of a version that is read in ranges."""

import h5py
import numpy as np
import pytest

from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged
from kept.store.blobs.blob import blob_key
from kept.store.content.chunking import LARGEST
from kept.store.content.ranged_file import RangedFile
from kept.store.store import Store
from kept.training.snapshot.devices.read_box import Stored, read_box


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file["large"] = np.arange(5 * 2**20, dtype="int32").reshape(512, 64, -1)  # two chunks
        file["small"] = np.arange(12.0)
    store = Store(MemoryBucket())
    return store.log_artifact("a", path), path.read_bytes()


def opened(version):
    return RangedFile(version.store.bucket, version.files[0])


def test_ranges_are_those_of_the_file(version):
    file, data = opened(version[0]), version[1]
    assert file.size == len(data)
    for start, stop in [(0, 8), (100, LARGEST + 5), (len(data) - 3, len(data) + 9), (7, 7)]:
        assert b"".join(file.parts(start, stop)) == data[start:stop]
        file.seek(start)
        assert file.read(stop - start) == data[start:stop]
    file.seek(5)
    assert file.read() == data[5:]


def test_h5py_reads_no_values_to_find_them(version):
    file = opened(version[0])
    with h5py.File(file, "r") as root:
        assert root["large"].shape == (512, 64, 160)
        assert file.bytes_read < 2**20
        assert np.array_equal(root["small"], np.arange(12.0))


BOXES = [
    ((0, 512), (0, 64), (0, 160)),
    ((3, 200), (0, 64), (0, 160)),
    ((3, 509), (5, 9), (0, 160)),
    ((0, 512), (0, 64), (150, 160)),
    ((511, 512), (63, 64), (0, 1)),
    ((4, 4), (0, 64), (0, 160)),
]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("block", [2**10, 2**16, 2**22])
def test_a_box_of_an_array(version, box, block, monkeypatch):
    monkeypatch.setattr("kept.training.snapshot.devices.read_box._BLOCK", block)
    file = opened(version[0])
    with h5py.File(file, "r") as root:
        start = root["large"].id.get_offset()
    array = np.arange(5 * 2**20, dtype="int32").reshape(512, 64, -1)
    found = read_box(Stored(file, start, array.shape, array.dtype), box)
    assert np.array_equal(found, array[tuple(slice(*one) for one in box)])


def test_a_box_reads_its_own_chunks_only(version):
    file = opened(version[0])
    with h5py.File(file, "r") as root:
        start = root["large"].id.get_offset()
    before = file.bytes_read
    read_box(
        Stored(file, start, (512, 64, 160), np.dtype("int32")), ((480, 512), (0, 64), (0, 160))
    )
    assert 0 < file.bytes_read - before <= 5 * 2**20 * 4 - LARGEST


def test_values_are_hidden_from_readers_of_metadata_only(version):
    file = opened(version[0])
    file.hide_values()
    with h5py.File(file, "r") as root:
        places = {name: root[name].id for name in root}
        ranges = [(one.get_offset(), one.get_offset() + one.get_storage_size())
                  for one in places.values()]  # fmt: skip
    assert file.bytes_read < 2**20
    start, stop = ranges[0]
    file.seek(start)
    assert file.read(512) == bytes(512)
    assert file.are_values(ranges)
    assert b"".join(file.parts(start + 4, start + 8)) == bytes([1, 0, 0, 0])
    whole = opened(version[0])
    whole.hide_values()
    whole.seek(start)
    whole.read(8)
    assert not whole.are_values([(start + 1, stop)])  # the first chunk has other bytes, too
    whole.seek(start + 4)
    assert whole.read(4) == bytes([1, 0, 0, 0])


def test_a_damaged_chunk_is_reported(version):
    store = version[0].store
    large = max(version[0].files[0].chunks, key=lambda chunk: chunk.size)
    key = blob_key(large.blob)
    whole = bytes(store.bucket.get(key))
    try:
        store.bucket.put(key, [whole[:-1] + bytes([whole[-1] ^ 1])])
        with pytest.raises(Damaged):
            opened(version[0]).read()
    finally:
        store.bucket.put(key, [whole])


def test_missing_blobs_are_found_without_reading(version):
    store = version[0].store
    opened(version[0]).check()
    large = max(version[0].files[0].chunks, key=lambda chunk: chunk.size)
    key = blob_key(large.blob)
    whole = bytes(store.bucket.get(key))
    try:
        store.bucket.put(key, [whole[:-1]])
        found = []
        for share in range(3):
            try:
                opened(version[0]).check(share, 3)
            except Damaged as error:
                found.append(str(error))
        assert len(found) == 1
        assert key in found[0]
    finally:
        store.bucket.put(key, [whole])
