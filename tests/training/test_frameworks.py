"""Copying arrays, with several threads where they are large."""

from __future__ import annotations

import numpy as np
import pytest

from kept.training import frameworks


@pytest.fixture
def in_pieces(monkeypatch):
    """Four threads, also for small arrays; yields the pieces that are copied."""
    monkeypatch.setattr(frameworks, "_THREADS", 4)
    monkeypatch.setattr(frameworks, "_WORTH_THREADS", 0)
    copied = []
    real = frameworks.in_threads

    def noting(work, items, threads):
        copied.extend(pieces := list(items))
        real(work, pieces, threads)

    monkeypatch.setattr(frameworks, "in_threads", noting)
    return copied


@pytest.mark.parametrize("shape", [(), (1,), (3,), (7, 11), (2, 3, 5)])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_every_byte_is_copied_whatever_the_shape(shape, dtype, in_pieces):
    source = np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)
    target = np.full(shape, 99, dtype).view(frameworks.HostArray)
    frameworks.copy_array(target, source)
    assert np.array_equal(target, source)
    assert len(in_pieces) == 4


def test_what_is_not_contiguous_is_copied_in_one_piece(in_pieces):
    source = np.arange(12).reshape(3, 4).T
    target = np.zeros((4, 3), source.dtype)
    frameworks.copy_array(target, source)
    assert np.array_equal(target, source)
    assert in_pieces == []


def test_small_arrays_are_copied_without_threads(in_pieces, monkeypatch):
    monkeypatch.setattr(frameworks, "_WORTH_THREADS", 1000)
    target = np.zeros(3)
    frameworks.copy_array(target, np.ones(3))
    assert target.tolist() == [1, 1, 1]
    assert in_pieces == []
