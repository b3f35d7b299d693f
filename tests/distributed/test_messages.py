"""Messages between real processes, by each framework's own store; and the death of one of them."""

from __future__ import annotations

import importlib.util

import pytest

from tests.distributed.processes import KILLED, Finished, launch

LABELS = {
    "jax": "jax.distributed",
    "torch": "torch.distributed",
    "tf_keras": "MultiWorkerMirroredStrategy",
    "communicator": "the communicator",
}


def run(framework: str, n: int, victim: int, folder) -> list[Finished]:
    if framework != "communicator" and importlib.util.find_spec(framework) is None:
        pytest.skip(f"no {framework}")
    script = folder if framework == "communicator" else framework
    found = launch(n, "messages.py", script, victim)
    for rank, one in enumerate(found):
        print(f"--- rank {rank}: {one.returncode}\n{one.output}")
    check_messages(framework, found)
    assert found[victim].returncode == KILLED
    return found


def check_messages(framework: str, found: list[Finished]) -> None:
    n = len(found)
    every = list(range(n))
    for rank, one in enumerate(found):
        said = one.reports
        assert said["place"] == [rank, n]
        assert said["label"] == LABELS[framework]
        ranks = [[other, None, 0.1] for other in every]
        assert said["messages"] == [ranks, *range(5), [700_001] * n, 700_001, [""] * n]
        assert said["side_by_side"] == [every]
    ranks, message, waited = found[0].reports["missing"]
    assert ranks == [n - 1]
    assert message.startswith(f"rank {n - 1} of {n} did not answer in time: rank 0 waited for what")
    assert 0.2 <= waited < 15  # the limit was 0.2 s


@pytest.mark.parametrize(
    ("framework", "n"),
    [
        ("jax", 2),
        ("torch", 2),
        ("communicator", 3),
        pytest.param("tf_keras", 2, marks=pytest.mark.integration),
    ],
)
def test_messages_arrive_and_a_dead_rank_is_named(framework, n, tmp_path):
    found = run(framework, n, n - 1, tmp_path)
    for one in found[:-1]:
        assert one.returncode == 0
        ranks, waited, message = one.reports["death"]
        assert ranks == [n - 1]
        assert waited < 15  # the limit was 1 s
        assert "waited for the last words of all ranks" in message


@pytest.mark.parametrize(
    ("framework", "n"),
    [
        ("communicator", 3),
        *(
            pytest.param(framework, 2, marks=pytest.mark.integration)
            for framework in ("jax", "torch", "tf_keras")
        ),
    ],
)
def test_no_process_hangs_if_the_first_one_dies(framework, n, tmp_path):
    """The first process has the values, so the others learn at once that it is gone."""
    found = run(framework, n, 0, tmp_path)
    for one in found[1:]:
        if framework == "jax" and "death" not in one.reports:
            assert one.returncode == -6  # JAX itself has ended the process
            continue
        assert one.returncode == 0
        _, waited, message = one.reports["death"]
        assert waited < 15
        assert f"Cannot reach the other processes of this run by {LABELS[framework]}" in message
