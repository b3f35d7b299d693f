"""A disk that is full for one rank of several: the first rank can try once more."""

import errno
import threading
import time
from dataclasses import replace
from types import SimpleNamespace as Given

import keras
import pytest

from kept.bucket.memory import MemoryBucket
from kept.store.store import Store
from kept.training.destinations.store import StoreDestination
from kept.training.options import Options
from kept.training.request import SaveRequest
from kept.training.save.disk_full import is_full
from kept.training.save.write_checkpoint import CheckpointWriter
from tests.training.helpers import template
from tests.training.shared.ranks import Ranks, compose, snapshots

pytestmark = [
    pytest.mark.usefixtures("frozen_clock"),
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX shards across processes"),
]


class FullOnce(MemoryBucket):
    """A disk that is full at the first write of each rank; `failed` are their threads."""

    def __init__(self, disk):
        super().__init__()
        self.disk, self.failed = disk, set()

    def put_many(self, items, transfer=None):
        if threading.get_ident() not in self.failed:
            self.failed.add(threading.get_ident())
            raise OSError(errno.ENOSPC, "No space left on device")
        self.disk.put_many(items, transfer)


def test_a_full_disk_of_other_ranks_is_tried_again(trained, store):
    ranks, held = Ranks(3, FullOnce(store.bucket)), snapshots(trained, 3)
    shared = ranks.begin(held)
    with pytest.raises(OSError, match=r"rank 1: .*No space left") as caught:
        store.log_artifact("m", [compose(trained, held[0], shared)])
    assert is_full(caught.value)  # so the writer makes room, and tries once more
    version = store.log_artifact("m", [compose(trained, held[0], shared)])
    ranks.end(shared, version.reference)
    assert len(ranks.bucket.failed) == 2
    assert ranks.outcomes[1:] == [version.reference] * 2
    assert store.verify().ok


class Space:
    """Frees nothing, and counts how often it is asked."""

    def __init__(self, *, frees):
        self.frees, self.asked = frees, 0

    def make_room(self, *_):
        self.asked += 1
        return self.frees


@pytest.mark.parametrize("frees", [True, False])
def test_the_writer_makes_room_or_gives_advice(trained, tmp_path, frees):
    destination = StoreDestination(Given(store=tmp_path / "store", mirror=None, aliases=()))
    destination.begin("m")
    ranks, held = Ranks(3, FullOnce(destination.store.bucket)), snapshots(trained, 3)
    path, space = str(tmp_path / "m.keras"), Space(frees=frees)
    writer = CheckpointWriter(destination, template(path), space, Options())
    shared = ranks.begin(held)._save
    request = SaveRequest(
        trained, "m", path, path, (), {}, "Epoch 1", time.perf_counter(), publish=False
    )
    result = writer.write(replace(request, shared=shared), held[0])
    ranks.join()
    assert space.asked == 1
    if frees:
        assert result.error is None
        assert ranks.outcomes[1:] == [result.name] * 2 == ["m:v0"] * 2
        assert destination.store.verify().ok
    else:
        assert "rank 1: No space left on device. Free some space" in str(result.error)
        assert all("rank 1: No space left" in str(error) for error in ranks.outcomes[1:])


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
