"""The kills of test_nothing_is_lost.py on each framework, and on tf_keras."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec

import pytest

from tests.sync.wandb.training import (
    killed_in_the_midst_of_an_upload,
    stuck,
    trained_while_the_server_is_away,
)

pytest.importorskip("wandb")
EDITIONS = {
    "torch": {"KERAS_BACKEND": "torch"},
    "tensorflow": {"KERAS_BACKEND": "tensorflow"},
    "tf_keras": {"edition": "tf_keras", "TF_USE_LEGACY_KERAS": "1"},
    "jax": {"KERAS_BACKEND": "jax"},
}


def edition(name, *marks):
    own = os.environ.get("KERAS_BACKEND", "tensorflow")
    tested = pytest.mark.skipif(name == own, reason="test_nothing_is_lost.py has it")
    there = pytest.mark.skipif(find_spec(name) is None, reason="not installed")
    return pytest.param(EDITIONS[name], id=name, marks=[tested, there, *marks])


ALL = [edition(name) for name in EDITIONS]


@pytest.mark.parametrize("options", [edition("torch"), edition("tf_keras")])
def test_killed(wandb_server, train, options):
    begun, release = stuck(wandb_server, "upload", 2)
    training = train(**options)
    killed_in_the_midst_of_an_upload(wandb_server, training, signal.SIGKILL, begun, release)


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("options", ALL)
def test_killed_in_the_midst_of_an_upload(wandb_server, train, options, number):
    begun, release = stuck(wandb_server, "upload", 2)
    killed_in_the_midst_of_an_upload(wandb_server, train(**options), number, begun, release)


@pytest.mark.integration
@pytest.mark.parametrize("options", ALL)
def test_the_server_away_for_the_whole_run(wandb_server, train, options):
    trained_while_the_server_is_away(wandb_server, lambda: train(**options))
