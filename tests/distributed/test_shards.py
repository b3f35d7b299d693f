"""Weights that are sharded across real processes: their pieces, and other topologies."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kept.store.open import open_store
from tests.distributed import sharded_model
from tests.distributed.processes import succeed

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="sharded on JAX only")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The store with a version of the model, and the digests of all its variables."""
    folder = tmp_path_factory.mktemp("sharded")
    model = sharded_model.build()
    random = np.random.default_rng(3)
    variables = sharded_model.variables(model)
    for variable in variables:
        variable.assign(random.normal(size=variable.shape) * 9)
    model.save(folder / "m.keras")
    store = open_store(str(folder / "store"))
    store.log_artifact("sharded", folder / "m.keras")
    arrays = [np.asarray(variable.value) for variable in variables]
    return store.location, sharded_model.digests(arrays), sum(one.nbytes for one in arrays)


@pytest.mark.parametrize(
    ("processes", "devices", "batch"),
    [
        (2, 2, 2),
        pytest.param(2, 1, 1, marks=pytest.mark.integration),
        pytest.param(4, 1, 1, marks=pytest.mark.integration),
        pytest.param(4, 2, 2, marks=pytest.mark.integration),
    ],
)
def test_each_process_reads_and_copies_its_parts(saved, processes, devices, batch):
    location, digests, size = saved
    flags = f"--xla_force_host_platform_device_count={devices} --xla_cpu_multi_thread_eigen=false"
    found = succeed(processes, "shards.py", location, batch, env={"XLA_FLAGS": flags})
    for one in found:
        assert one["is_sharded"]
        assert one["digests"] == digests
        assert one["wrong"] == []
        assert one["own"] <= size / processes * 1.05
    every = sorted(piece for one in found for piece in one["pieces"])
    assert sum(stop - start for _, start, stop, _ in every) == size
    assert {owner for *_, owner in every} == set(range(processes))


@pytest.mark.integration
@pytest.mark.parametrize("processes", [2, 4])
def test_no_process_takes_more_than_its_share(processes):
    for one in succeed(processes, "shard_costs.py"):
        print(one)
        share = one["size"] / processes
        assert one["own"] <= share * 1.05
        assert one["peak"] <= share * 2 + 100  # its device arrays and its snapshot, each once
        assert one["not_zero"] == 0
        assert one["reading"] < 4  # zeros take no memory
