"""A run on JAX resumes with any number of processes, within an epoch."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

import kept
from tests.distributed.processes import succeed

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs a framework"),
]


@pytest.mark.parametrize(("before", "after"), [(2, (1, 2, 4)), (4, (2,))])
def test_another_number_of_processes_continues_in_the_data(before, after, tmp_path):
    store, env = tmp_path / "store", {"WANDB_BASE_URL": "http://127.0.0.1:9"}
    succeed(before, "resume_jax.py", "train", store, "data", env=env)
    versions = kept.open_store(os.fspath(store)).versions("m")
    assert [(v.metadata["epoch"], v.metadata["batch"]) for v in versions] == [
        *((0, 1), (0, 3), (1, 1))
    ]
    found = {n: succeed(n, "resume_jax.py", "m:v2", store, "data", env=env) for n in after}
    assert len({one["restored"] for ranks in found.values() for one in ranks}) == 1
    ends = [np.concatenate(ranks[0]["end"]) for ranks in found.values()]
    for end in ends:
        np.testing.assert_allclose(end, ends[0], rtol=1e-4, atol=1e-6)
    for n, ranks in found.items():
        lines = ranks[0]["lines"]
        assert "kept: continuing from m:v2 in epoch 2, after batch 2" in lines, lines
        other = [line for line in lines if "and this run has" in line]
        assert len(other) == (n != before), lines
        assert all(f"this run has {n} process" in line for line in other)
        assert all(line.endswith("the results may differ in their last bits") for line in other)


@pytest.mark.parametrize(("before", "after"), [(2, (1, 4)), (4, (2,))])
def test_sharded_weights_are_the_same_on_another_number_of_processes(before, after, tmp_path):
    store, env = tmp_path / "store", {"WANDB_BASE_URL": "http://127.0.0.1:9"}
    succeed(before, "resume_jax.py", "train", store, "model", env=env)
    digests = set()
    for n in (before, *after):
        ranks = succeed(n, "resume_jax.py", "m:v2", store, "model", env=env)
        digests |= {one["restored"] for one in ranks}
        lines = ranks[0]["lines"]
        assert any("continuing from m:v2 in epoch 2" in line for line in lines), lines
        assert any("this run has" in line for line in lines) == (n != before), lines
    assert len(digests) == 1
