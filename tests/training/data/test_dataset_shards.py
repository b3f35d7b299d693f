"""A kept.Dataset that several processes divide: together they read what one process would."""

from __future__ import annotations

import numpy as np
import pytest

import kept
from kept.errors import InvalidInput

pytestmark = pytest.mark.any_framework
X = np.arange(21, dtype="float32").reshape(-1, 1)


def batches(processes, rank=0, epoch=3, **options):
    found = kept.Dataset(X, X * 2, batch_size=8, seed=5, shard=(rank, processes), **options)
    found.set_epoch(epoch)
    return [found[index] for index in range(len(found))]


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("shuffle", [True, False])
def test_all_processes_together_have_the_batches_of_one(processes, shuffle):
    alone = batches(1, shuffle=shuffle)
    parts = [batches(processes, rank, shuffle=shuffle) for rank in range(processes)]
    assert {len(part) for part in parts} == {3}
    for index, (x, y) in enumerate(alone):
        joined = np.concatenate([part[index][0] for part in parts])
        np.testing.assert_array_equal(joined[: len(x)], x)
        np.testing.assert_array_equal(np.concatenate([p[index][1] for p in parts])[: len(x)], y)
        sizes = {len(part[index][0]) for part in parts}
        assert sizes == {-(-len(x) // processes)}, "JAX needs parts of one size"
        np.testing.assert_array_equal(joined[len(x) :], x[: len(joined) - len(x)])


def test_a_last_batch_with_fewer_rows_than_processes():
    found = kept.Dataset(X[:9], batch_size=8, shuffle=False, shard=(3, 4))
    np.testing.assert_array_equal(found[1][0], [[8]])


def test_skipped_batches_have_the_shape_of_the_others():
    found = kept.Dataset(X, batch_size=8, shard=(1, 2))
    found.set_epoch(2, 1)
    assert found[0][0].shape == (4, 1)


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0), (0, 3), 1, ("a", 2), (0.5, 2), None])
def test_a_wrong_shard_is_refused(shard):
    with pytest.raises(InvalidInput, match="shard is"):
        kept.Dataset(X, batch_size=8, shard=shard)
