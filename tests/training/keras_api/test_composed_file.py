"""A composed file is what io.BytesIO would be, whatever is written where."""

from __future__ import annotations

import io
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kept.training.keras_api import composed_file
from kept.training.keras_api.composed_file import ComposedFile, LastingMemory

pytestmark = pytest.mark.any_framework
BIG = 16


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    monkeypatch.setattr(composed_file, "_WORTH_IT", BIG)


class Copies:
    """Memory that has a copy of every large write, except of those that begin with a byte."""

    def __init__(self, refused=None):
        self.refused = refused

    def find(self, written):
        return None if written[0] == self.refused else memoryview(bytes(written))


class Holding:
    """Memory that has one tensor, and finds it for every write."""

    def __init__(self, tensor):
        self.tensor = tensor

    def find(self, written):
        return memoryview(self.tensor)


def written(file):
    return b"".join(bytes(part) for part in file.parts())


steps = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 120), st.integers(0, 60), st.integers(1, 9)),
    st.tuples(st.just("append"), st.just(0), st.integers(0, 60), st.integers(1, 9)),
    st.tuples(st.just("truncate"), st.integers(0, 150), st.just(0), st.just(0)),
    st.tuples(st.just("read"), st.integers(0, 150), st.integers(0, 150), st.just(0)),
)


@settings(max_examples=200)
@given(st.lists(steps, max_size=25))
def test_is_a_file(script):
    ours, model = ComposedFile(Copies(3)), io.BytesIO()
    for what, offset, length, byte in script:
        if what == "truncate":
            ours.truncate(offset)
            model.truncate(offset)
            continue
        for file in (ours, model):
            file.seek(*((0, io.SEEK_END) if what == "append" else (offset,)))
        if what == "read":
            buffer = bytearray(length)
            assert ours.readinto(memoryview(buffer)) == len(found := model.read(length))
            assert buffer.startswith(found)
        else:
            data = bytes([byte]) * length
            assert ours.write(data) == model.write(data)
        assert ours.tell() == model.tell()
    assert written(ours) == model.getvalue()
    assert ours.size == len(model.getvalue())


def test_what_is_appended_is_held_by_reference():
    tensor = bytearray(b"x" * 100)
    file = ComposedFile(Holding(tensor))
    file.write(b"head")
    file.write(tensor)
    file.write(b"tail")
    file.seek(0)
    file.write(b"HEAD")
    tensor[:] = b"y" * 100
    assert written(file) == b"HEAD" + b"y" * 100 + b"tail"
    assert [len(part) for part in file.parts()] == [4, 100, 4]


def test_what_is_overwritten_is_not_changed_where_it_lies():
    tensor = bytearray(b"x" * 100)
    file = ComposedFile(Holding(tensor))
    file.write(tensor)
    file.seek(50)
    file.write(b"inside")
    assert tensor == b"x" * 100
    assert written(file) == b"x" * 50 + b"inside" + b"x" * 44


def tensors(count):
    chance = np.random.default_rng(0)
    shapes = [(count, 3), (70, 70), (2,), (), (0, 3)]
    return {f"group_{n}/t": chance.normal(size=shapes[n % 5]) for n in range(count)}


def test_hdf5():
    """What h5py writes is what it writes into io.BytesIO, and no tensor of some size is copied."""
    arrays = tensors(60)
    ours, model = ComposedFile(Copies()), io.BytesIO()
    for file in (ours, model):
        with h5py.File(file, "w") as root:
            for name, array in arrays.items():
                root[name] = array
                root[name].attrs["dtype"] = "bfloat16"
    assert written(ours) == model.getvalue()
    assert len(ours._own) < len(model.getvalue()) - 12 * 70 * 70 * 8
    ours.seek(0)
    with h5py.File(ours, "r") as root:
        for name, array in arrays.items():
            np.testing.assert_array_equal(root[name][()], array)


def test_zip(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1e9)
    ours, model = ComposedFile(LastingMemory()), io.BytesIO()
    for file in (ours, model):
        with zipfile.ZipFile(file, "w") as archive:
            for name in ("a", "b"):
                archive.writestr(name, name.encode() * 1000)
    assert written(ours) == model.getvalue()
