"""Devices, seeds and the run of W&B, as the framework and the SDK name them."""

from __future__ import annotations

import sys
import types

import keras
import pytest

from kept.sync.wandb.sdk import run_facts
from kept.training.data.environment import device_names, seeds

Fake = types.SimpleNamespace


def test_the_devices_and_the_seed_of_this_framework():
    framework = keras.backend.backend()
    keras.utils.set_random_seed(7)
    found = seeds(framework)
    assert found["keras"] == 7
    assert framework == "jax" or found[framework] == 7
    assert sum(device_names(framework).values()) >= 1


@pytest.mark.any_framework
def test_gpus_are_counted_by_their_names(monkeypatch):
    names = ["A", "A", "B"]
    cuda = Fake(
        is_available=lambda: True, device_count=lambda: 3, get_device_name=names.__getitem__
    )
    details = Fake(get_device_details=lambda one: {"device_name": one})
    tf = Fake(config=Fake(list_physical_devices=lambda _: names, experimental=details))
    fakes = {
        "torch": Fake(cuda=cuda),
        "tensorflow": tf,
        "jax": Fake(devices=lambda: [Fake(device_kind=name) for name in names]),
    }
    for framework, module in fakes.items():
        monkeypatch.setitem(sys.modules, framework, module)
        assert device_names(framework) == {"A": 2, "B": 1}


@pytest.mark.any_framework
def test_a_driver_that_fails_is_left_out(monkeypatch):
    def fail():
        raise RuntimeError("no driver")

    monkeypatch.setitem(sys.modules, "jax", Fake(devices=fail))
    assert device_names("jax") == {}
    monkeypatch.delitem(sys.modules, "jax")
    assert device_names("jax") == {}


@pytest.mark.any_framework
def test_seeds_that_nobody_set_are_left_out(monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    monkeypatch.setitem(sys.modules, "keras.src.backend.common.global_state", None)
    assert seeds("jax") == {"PYTHONHASHSEED": "0"}


@pytest.mark.any_framework
@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (Fake(disabled=False, offline=False, id="r", url="http://w/r"),
         {"id": "r", "url": "http://w/r"}),
        (Fake(disabled=False, offline=True, id="r"), {"id": "r"}),
        (Fake(disabled=True), {}),
        (Fake(), {}),
    ],
)  # fmt: skip
def test_the_run_of_wandb(run, expected, monkeypatch):
    assert run_facts(run) == expected
    monkeypatch.setitem(sys.modules, "wandb", Fake(run=run))
    assert run_facts() == expected
    monkeypatch.delitem(sys.modules, "wandb")
    assert run_facts() == {}
