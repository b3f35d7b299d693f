"""A disk that is full for one rank of several: the first rank can try once more."""

import errno
import threading

import keras
import pytest

from kept.bucket.memory import MemoryBucket
from kept.store.store import Store
from kept.training.save.disk_full import is_full
from tests.training.shared.ranks import Ranks, compose, snapshots, usual_model

pytestmark = [
    pytest.mark.usefixtures("frozen_clock"),
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX shards across processes"),
]


@pytest.fixture(scope="module")
def trained():
    return usual_model()


@pytest.fixture
def store():
    return Store(MemoryBucket())


def test_a_full_disk_of_other_ranks_is_tried_again(trained, store):
    failed = set()  # threads, one for each rank

    class Full(MemoryBucket):
        def put_many(self, items, transfer=None):
            if threading.get_ident() not in failed:
                failed.add(threading.get_ident())
                raise OSError(errno.ENOSPC, "No space left on device")
            store.bucket.put_many(items, transfer)

    ranks, held = Ranks(3, Full()), snapshots(trained, 3)
    shared = ranks.begin(held)
    with pytest.raises(OSError, match=r"rank 1: .*No space left") as caught:
        store.log_artifact("m", [compose(trained, held[0], shared)])
    assert is_full(caught.value)  # so the writer makes room, and tries once more
    version = store.log_artifact("m", [compose(trained, held[0], shared)])
    ranks.end(shared, version.reference)
    assert len(failed) == 2
    assert ranks.outcomes[1:] == [version.reference] * 2
    assert store.verify().ok


def test_a_rank_that_cannot_give_its_pieces_stores_none(trained, store, monkeypatch):
    def digest(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("kept.training.shared.follow.digest", digest)
    ranks, held = Ranks(2, store.bucket), snapshots(trained, 2)
    shared = ranks.begin(held)
    for _ in range(2):
        shared._requests.send(store=1)  # a request that it does not follow
    with pytest.raises(OSError, match="rank 1: Input/output error"):
        shared.ranges(held[0])
    ranks.end(shared, "", ValueError("no pieces"))
    assert "no pieces" in str(ranks.outcomes[1])


def test_a_full_disk_of_the_first_rank_is_tried_again(trained, store, monkeypatch):
    ranks, held = Ranks(2, store.bucket), snapshots(trained, 2)
    shared = ranks.begin(held)
    file = compose(trained, held[0], shared)
    plain, calls = store.bucket.put_many, []

    def put_many(items, transfer=None):
        calls.append(1)
        if len(calls) == 1:
            next(iter(items))  # the other rank is asked, and its answer is not read
            raise OSError(28, "No space left on device")
        plain(items, transfer)

    ranks.bucket = Store(store.bucket).bucket
    monkeypatch.setattr(store.bucket, "put_many", put_many)
    with pytest.raises(OSError, match="No space"):
        store.log_artifact("m", [file])
    version = store.log_artifact("m", [compose(trained, held[0], shared)])
    ranks.end(shared, version.reference)
    assert ranks.outcomes[1] == version.reference
    assert store.verify().ok
