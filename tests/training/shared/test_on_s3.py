"""Each rank writes straight to object storage."""

import keras
import pytest

import kept
from kept.training.destinations.open import open_destination
from kept.training.destinations.store import StoreDestination
from kept.training.options import Options
from tests.training.shared.ranks import Ranks, model, snapshots

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


def test_no_outbox_stands_between(s3):
    options = Options(store=s3)
    opened = open_destination(options, arrivals=None)
    assert opened.has_outbox
    found = opened.for_sharded()
    assert isinstance(found, StoreDestination)
    assert (found.has_outbox, found.store) == (False, opened.store)
