"""Two processes on torch, each with a state of its own, resume as if nothing had happened."""

from __future__ import annotations

import importlib.util

import pytest

from kept.store.open import open_store
from tests.distributed.processes import succeed

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs a framework"
)
ONE_CLOCK = {"WANDB_BASE_URL": "http://127.0.0.1:9"}


@pytest.mark.parametrize("data", ["loader", pytest.param("dataset", marks=pytest.mark.integration)])
def test_each_rank_continues_with_its_own_state(tmp_path, data):
    store = tmp_path / "store"
    found = succeed(2, "resume_torch.py", "same", store, env={**ONE_CLOCK, "DATA": data})
    for rank, one in enumerate(found):
        straight, resumed = one["straight"], one["resumed"]
        lines = [straight.pop("lines"), resumed.pop("lines")]
        assert resumed == straight, f"rank {rank}: {lines}"
    first, second = (one["straight"] for one in found)
    assert first["trained"] == second["trained"]
    for name in ("all", "loss", "count", "torch", "numpy"):
        assert first[name] != second[name], f"{name}: the ranks have states of their own"
    versions = open_store(store).versions("m")
    moments = [(version.metadata["epoch"], version.metadata["batch"]) for version in versions]
    assert moments == [(epoch, batch) for epoch in range(3) for batch in (1, 3, 5)]
    paths = {file.path for file in versions[0].files}
    assert {"kept-state.rank-1.json", "kept-state.rank-1.npz"} <= paths
    if data == "dataset":
        check_other_numbers(store, versions, {**ONE_CLOCK, "DATA": data})


def check_other_numbers(store, versions, env):
    """One process, and four, get the state that two have saved within an epoch."""
    reference = next(v.reference for v in versions if v.metadata["epoch"] == 1)
    found = [succeed(n, "resume_torch.py", "restore", store, reference, env=env) for n in (1, 4)]
    assert len({one["optimizer"] for ranks in found for one in ranks}) == 1
    assert len({one["weights"] for ranks in found for one in ranks}) == 1
    for ranks, n in zip(found, (1, 4), strict=True):
        text = "\n".join(ranks[0]["resumed"]["lines"])
        assert f"and this run has {n} process" in text
        assert "all get the callbacks" in text
        assert "random generators begin again as the script makes them" in text
        assert text.count(" process") == 2, text
        others = [line for one in ranks[1:] for line in one["resumed"]["lines"]]
        assert not any("continuing" in line or "this run has" in line for line in others)
