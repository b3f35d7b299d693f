"""Copying arrays: several threads where they are large, and past the caches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.training.snapshot import copying
from tests.helpers import finish, start

pytestmark = pytest.mark.any_framework
ROOT = Path(__file__).parents[3]


def cut(monkeypatch, size):
    """Have four threads copy pieces of size bytes; return the list of the pieces."""
    monkeypatch.setattr(copying, "_THREADS", 4)
    monkeypatch.setattr(copying, "LARGE", size)
    copied = []
    real = copying.in_threads

    def noting(work, items, threads):
        copied.extend(pieces := list(items))
        real(work, pieces, threads)

    monkeypatch.setattr(copying, "in_threads", noting)
    return copied


@pytest.fixture(params=["C", "NumPy"])
def in_pieces(request, monkeypatch):
    """Pieces of 8 bytes, copied by either means; yields those that are copied by threads."""
    if request.param == "NumPy":
        monkeypatch.setattr(copying, "_copy_bytes", np.copyto)
    return cut(monkeypatch, 8)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (9,), (7, 11), (2, 3, 5)])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_every_byte_is_copied_whatever_the_shape(shape, dtype, in_pieces):
    source = np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)
    target = np.full(shape, 99, dtype)
    copying.copy_arrays([(target, source)])
    assert np.array_equal(target, source)
    pieced = -(-source.nbytes // 8) if source.nbytes >= 8 else 0
    assert len(in_pieces) == pieced


def test_what_is_not_contiguous_is_copied_in_one_piece(in_pieces):
    source = np.arange(12).reshape(3, 4).T
    target = np.zeros((4, 3), source.dtype)
    copying.copy_arrays([(target, source)])
    assert np.array_equal(target, source)
    assert in_pieces == []


def test_what_is_a_part_of_an_array_is_copied_in_one_piece(in_pieces):
    source, target = np.arange(12).reshape(6, 2), np.zeros((6, 4), int)
    copying.copy_arrays([(target[:, 1:3], source)])
    assert np.array_equal(target[:, 1:3], source)
    assert in_pieces == []


# The module in C -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def streaming():
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here, so the module was not built")
    from kept.training.snapshot import _streaming

    return _streaming


@given(size=st.integers(0, 5000), into=st.integers(0, 130), out_of=st.integers(0, 130))
def test_exactly_the_bytes_asked_for_are_written_at_any_alignment(streaming, size, into, out_of):
    source = np.random.default_rng(size).integers(0, 256, size + 130, np.uint8)
    target = np.full(size + 260, 7, np.uint8)
    expected = target.copy()
    expected[into : into + size] = source[out_of : out_of + size]
    streaming.copy(target[into : into + size], source[out_of : out_of + size])
    assert np.array_equal(target, expected)


def test_a_copy_of_another_length_is_refused_and_nothing_written(streaming):
    target = bytearray(3)
    with pytest.raises(ValueError, match="Received: 3 and 2 bytes"):
        streaming.copy(target, b"ab")
    assert target == bytes(3)


@pytest.mark.parametrize("wrong", [b"abc", np.zeros((3, 3), np.uint8)[:, 0], "abc", None])
def test_what_cannot_be_written_in_one_piece_is_refused(streaming, wrong):
    with pytest.raises((TypeError, BufferError, ValueError)):
        streaming.copy(wrong, b"abc")


WITHOUT = """
import sys
sys.modules["kept.training.snapshot._streaming"] = None
import numpy as np
from kept.training.snapshot import copying
assert copying._copy_bytes is np.copyto
target, source = np.zeros(2_000_000), np.arange(2_000_000.0)
copying.copy_arrays([(target, source)])
assert np.array_equal(target, source)
print("copied")
"""


def test_without_the_module_numpy_copies():
    assert finish(start(WITHOUT)) == ["copied"]


@pytest.mark.integration
@pytest.mark.parametrize(("compiler", "built"), [("cc", True), ("false", False)])
def test_a_wheel_has_the_module_where_there_is_a_compiler(compiler, built, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.so", "*.egg*"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path, source]
    subprocess.run(command, env=os.environ | {"CC": compiler}, check=True, timeout=200)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert ("kept/training/snapshot/_streaming.abi3.so" in names) == built
    assert "kept/py.typed" in names
