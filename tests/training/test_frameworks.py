"""Copying arrays, with several threads where they are large."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kept.training import frameworks
from kept.training.snapshot import Snapshot


@pytest.fixture
def in_pieces(monkeypatch):
    """Pieces of 8 bytes for four threads; yields those that are copied by them."""
    monkeypatch.setattr(frameworks, "_THREADS", 4)
    monkeypatch.setattr(frameworks, "_PIECE", 8)
    copied = []
    real = frameworks.in_threads

    def noting(work, items, threads):
        copied.extend(pieces := list(items))
        real(work, pieces, threads)

    monkeypatch.setattr(frameworks, "in_threads", noting)
    return copied


@pytest.mark.any_framework
@pytest.mark.parametrize("shape", [(), (0,), (1,), (9,), (7, 11), (2, 3, 5)])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_every_byte_is_copied_whatever_the_shape(shape, dtype, in_pieces):
    source = np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)
    target = np.full(shape, 99, dtype).view(frameworks.HostArray)
    frameworks.copy_arrays([(target, source)])
    assert np.array_equal(target, source)
    pieced = -(-source.nbytes // 8) if source.nbytes >= 8 else 0
    assert len(in_pieces) == pieced


@pytest.mark.any_framework
def test_what_is_not_contiguous_is_copied_in_one_piece(in_pieces):
    source = np.arange(12).reshape(3, 4).T
    target = np.zeros((4, 3), source.dtype)
    frameworks.copy_arrays([(target, source)])
    assert np.array_equal(target, source)
    assert in_pieces == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_snapshot_copies_straight_out_of_the_framework_s_memory(dtype, in_pieces):
    """What is copied from is the variable's own memory, seen twice, and not a copy of it."""
    name = keras.backend.backend()
    variable = keras.Variable(np.arange(50).reshape(5, 10), trainable=False, dtype=dtype)
    snapshot = Snapshot(name)
    snapshot.take([variable])
    taken = np.asarray(keras.ops.convert_to_numpy(snapshot.value(variable)), "float32")
    assert taken.tolist() == np.arange(50).reshape(5, 10).tolist()
    if name != "torch":  # which copies into the buffer by itself
        again = frameworks.framework(name)._view(variable)
        assert all(np.shares_memory(source, again) for _, source in in_pieces)
        assert len(in_pieces) == -(-taken.size * again.itemsize // 8)
