"""Training here is always a process of its own, with a W&B service process of its own."""

from __future__ import annotations

import pytest

from tests.sync.wandb.training import Training


def pytest_collection_modifyitems(config, items):
    """Pass over what is slow, unless -m asks for it."""
    if "integration" in (config.option.markexpr or ""):
        return
    for item in items:
        if item.path.parent.name == "wandb" and item.get_closest_marker("integration"):
            item.add_marker(pytest.mark.skip(reason="run by make test-integration"))


@pytest.fixture(autouse=True, scope="module")
def _no_service_to_inherit():
    """End this process's W&B service: it is in the environment, and children would share it."""
    pytest.importorskip("wandb").teardown()


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Work in an empty folder, with short pauses between attempts."""
    from kept.sync import courier
    from kept.sync.wandb import sender

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(courier, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(courier, "FINISH_SECONDS", 60)
    monkeypatch.setattr(sender, "_ASK_SECONDS", 0.2)
    monkeypatch.setattr(sender, "_PAUSES", (0.05, 0.1))


@pytest.fixture
def train(wandb_server, tmp_path):
    """Start a run of train.py; see Training."""
    started = []

    def start(**options):
        started.append(Training(wandb_server, tmp_path, **options))
        return started[-1]

    yield start
    for training in started:
        training.stop()
