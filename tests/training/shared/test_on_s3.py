"""Each rank writes straight to object storage."""

import types

import keras
import pytest

import kept
from kept.store.metadata import MeasuredMetadata
from kept.store.origin.origin import UNKNOWN
from kept.training.destinations.open import open_destination
from kept.training.options import Options
from tests.training.shared.ranks import Ranks, compose, model, snapshots


class Checkpoint:
    """A checkpoint of one file; see Checkpoint in destinations/base.py."""

    def __init__(self, file):
        self.files, self.metadata = [file], MeasuredMetadata({})
        self.request = types.SimpleNamespace(
            artifact="m", aliases=(), contends=False, origin=UNKNOWN
        )


pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX shards weights")


def test_ranks_store_their_own_bytes_on_s3(s3):
    store, trained = kept.open_store(s3), model(keras.layers.Dense(3000))
    ranks = Ranks(3, kept.open_store(s3).bucket)
    version = ranks.save(store, trained, snapshots(trained, 3))
    assert ranks.outcomes[1:] == ["m:v0", "m:v0"]
    assert kept.open_store(s3).verify().problems == []
    restored = version.load_model()
    for one, other in zip(restored.variables, trained.variables, strict=True):
        assert (one.numpy() == other.numpy()).all()


def test_no_outbox_stands_between(s3, tmp_path):
    trained = model(keras.layers.Dense(3000))
    destination = open_destination(Options(store=s3), arrivals=None)
    destination.check_sharded()
    destination.begin("m")
    ranks, held = Ranks(2, kept.open_store(s3).bucket), snapshots(trained, 2)
    shared = ranks.begin(held)
    file = compose(trained, held[0], shared)
    submitted = destination.submit(Checkpoint(file))
    ranks.end(shared, submitted.name)
    assert ranks.outcomes[1] == "m:v0"
    assert kept.open_store(s3)["m:latest"].index == 0
    destination.finish()
