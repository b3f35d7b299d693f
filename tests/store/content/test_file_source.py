"""Files in memory are stored as files on the disk are."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kept
from kept import errors
from kept.store.content.file_source import DiskFile, MemoryFile
from tests.helpers import arrays, keras


@given(st.lists(st.binary(max_size=9), max_size=8), st.integers(0, 80), st.integers(0, 80))
def test_any_range(parts, start, stop):
    data, file = b"".join(parts), MemoryFile("m", parts)
    assert file.size == len(data)
    assert bytes(file.read(start, stop)) == data[start:stop]


def test_one_buffer_is_not_copied():
    big = bytearray(range(100))
    file = MemoryFile("m", [b"head", big, b"tail"])
    view = file.read(10, 50)
    big[6] = 255
    assert view[0] == 255


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_one_buffer_needs_no_list(kind):
    file = MemoryFile("m", kind(b"content"))
    assert bytes(file.read(0, 7)) == b"content"


def pieces(data):
    chance = random.Random(0)
    cuts = sorted(chance.sample(range(len(data)), 9))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_a_version_is_the_same_from_memory_as_from_the_disk(tmp_path):
    data = keras(arrays(1, dense=300_000, small=100, other=2_000_000))
    path = tmp_path / "m.keras"
    path.write_bytes(data)
    store = kept.open_store(tmp_path / "store")
    in_memory = store.log_artifact("a", MemoryFile("m.keras", pieces(data)))
    on_disk = store.log_artifact("b", path)
    assert in_memory.digest == on_disk.digest
    assert (in_memory.download(tmp_path / "out") / "m.keras").read_bytes() == data


def test_memory_and_disk_together(tmp_path):
    other = tmp_path / "a.txt"
    other.write_text("text")
    store = kept.open_store(tmp_path / "store")
    version = store.log_artifact("a", [MemoryFile("b", [b"bytes"]), other])
    assert [file.path for file in version.files] == ["a.txt", "b"]
    with pytest.raises(errors.InvalidPath, match=r"Two files would be 'a\.txt'"):
        store.log_artifact("a", [MemoryFile("a.txt", []), other])
    with pytest.raises(errors.InvalidPath):
        store.log_artifact("a", MemoryFile("../up", []))


def test_a_file_that_is_cut_short(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(100))
    with path.open("rb") as file:
        content = DiskFile(str(path), file.fileno())
        assert content.read(90, 200) == bytes(10)
        path.write_bytes(bytes(10))
        with pytest.raises(errors.InvalidPath, match="changed"):
            content.read(0, 100)
