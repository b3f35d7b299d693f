"""Fits of several processes on JAX: versions = saves, and a resumed one is equal in every bit."""

from __future__ import annotations

import numpy as np
import pytest

import kept
from tests.distributed.processes import succeed


@pytest.mark.parametrize(
    ("layout", "n"),
    [
        ("data", 2),
        pytest.param("model", 2, marks=pytest.mark.integration),
        pytest.param("data", 4, marks=pytest.mark.integration),
        pytest.param("model", 4, marks=pytest.mark.integration),
    ],
)
def test_one_version_a_save_and_an_exact_resume(layout, n, tmp_path):
    check(layout, n, tmp_path, str(tmp_path))


@pytest.mark.integration
@pytest.mark.parametrize("layout", ["data", "model"])
def test_a_store_in_object_storage(layout, s3, tmp_path):
    check(layout, 2, tmp_path, s3)


def check(layout, n, tmp_path, stores):
    found = succeed(n, "jax_fit.py", layout, tmp_path, stores, seconds=240)
    for rank, one in enumerate(found):
        assert one["processes"] == n
        assert one["is_sharded"] == (layout == "model")
        assert one["whole"] == found[0]["whole"]
        assert one["resumed"] == one["whole"]
        assert one["committed"] == (0 if rank else 5)
        assert set(one["files"]) <= {"m0.keras"}
    for name in ("whole", "parts"):
        store = kept.open_store(f"{stores}/{name}")
        versions = store.versions("a")
        places = [(one.metadata["epoch"], one.metadata["batch"]) for one in versions]
        assert places == [(0, 2), (1, 1), (2, 0), (2, 3), (3, 2)]
        assert store.verify().ok
        logged = [[(each.name, each.value) for each in v.record.changes.logged] for v in versions]
        assert logged == [[("rank", 0)]] * 5  # the first process alone calls on_commit
        best = min(versions, key=lambda one: one.metadata["value"])
        assert store.version("a:best").reference == best.reference
    whole, parts = (weights(f"{stores}/{name}") for name in ("whole", "parts"))
    assert all(np.array_equal(one, other) for one, other in zip(whole, parts, strict=True))


def weights(store):
    """Return the weights of the last version, which any process alone can load."""
    version = kept.open_store(store).version("a:latest")
    return version.load_model().get_weights()
