"""The pieces of variables that are sharded across processes, and their owners."""

from types import SimpleNamespace

import numpy as np
import pytest

from kept.store.content.chunking import LARGEST
from kept.training.snapshot.shards import SMALL, is_sharded, plan

MIB = 1024 * 1024


def of_size(*sizes):
    """Return variables with these sizes in bytes; none takes memory."""
    return [SimpleNamespace(value=np.broadcast_to(np.uint8(0), (size,))) for size in sizes]


MODELS = {
    "large tensors": [100 * MIB + 12] * 12 + [4096] * 12,
    "medium tensors": [4 * MIB, 1 * MIB, 2048] * 60,
    "mixed": [700 * MIB, 3 * MIB, 64 * 1024, 60 * 1024, 16 * MIB, 17 * MIB, 8, 0] * 3,
}


@pytest.mark.parametrize("sizes", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("ranks", [1, 2, 4, 7])
def test_pieces_cover_each_tensor_and_their_borders_depend_on_no_number_of_ranks(sizes, ranks):
    pieces = plan(of_size(*sizes), ranks)
    expected = [
        (n, start, min(start + LARGEST, size))
        for n, size in enumerate(sizes)
        for start in range(0, size, LARGEST)
    ]
    assert [piece[:3] for piece in pieces] == expected
    assert {piece.owner for piece in pieces} <= set(range(ranks))


@pytest.mark.parametrize("sizes", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("ranks", [1, 2, 4, 7])
def test_the_ranks_get_equal_shares(sizes, ranks):
    pieces = plan(of_size(*sizes), ranks)
    share = sum(sizes) / ranks
    for rank in range(ranks):
        assert sum(piece.size for piece in pieces if piece.owner == rank) <= share * 1.05


def test_small_tensors_belong_to_the_first_rank():
    pieces = plan(of_size(*[SMALL - 1] * 40, SMALL), 4)
    assert [piece.owner for piece in pieces] == [0] * 40 + [1]


def test_values_of_other_frameworks_are_not_sharded():
    assert not is_sharded(of_size(8, 8))
