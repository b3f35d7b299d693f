"""Copies of the callbacks for tf_keras and for W&B; see test_copies.py."""

import json

import numpy as np
import pytest

import kept
from tests.training.callbacks.test_copies import WAYS
from tests.training.helpers import fit, losses, play

tf_keras = pytest.importorskip("tf_keras")


@pytest.fixture
def legacy():
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(3,))])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


@pytest.fixture
def run(wandb_server):
    import wandb

    with wandb.init(project="p") as run:
        yield run


def fit_legacy(model, callback, epochs=2):
    x, y = np.ones((4, 3)), np.ones((4, 1))
    model.fit(x, y, epochs=epochs, verbose=0, callbacks=[callback])


@pytest.mark.any_framework
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_for_tf_keras(legacy, way):
    callback = kept.tf_keras.ModelCheckpoint(
        "m{epoch}.h5", "loss", name="m", period=2, load_weights_on_restart=True
    )
    before = WAYS[way](callback)
    fit_legacy(legacy, callback)
    callback.verbose, callback.period = 1, 1
    after = WAYS[way](callback)
    assert (after.model, after.best, after.versions) == (None, callback.best, [])
    assert (before.period, after.period, after.verbose) == (2, 1, 1)
    assert before.best == float("inf")
    for copied, epochs in ((before, [1]), (after, [0, 1])):
        fit_legacy(legacy, copied)
        assert [v.metadata["epoch"] for v in copied.versions] == epochs
        assert copied.monitor_op(0, 1)
    assert callback.model is legacy
    assert len(callback.versions) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_for_wandb(run, wandb_server, model, data, way):
    callback = kept.WandbModelCheckpoint("m{epoch}.keras", "loss", ttl=None, metadata={"a": 1})
    before = WAYS[way](callback)
    fit(model, data, callback)
    callback.save_best_only = True
    after = WAYS[way](callback)
    assert (after.model, after.best, after.logged) == (None, callback.best, [])
    play([before], losses(0.5), model=model)
    play([after], [{"loss": callback.best - 0.1}, {"loss": callback.best}], model=model)
    assert (len(before.logged), len(after.logged), len(callback.logged)) == (1, 1, 1)
    versions = wandb_server.versions(f"run_{run.id}_model")
    assert len(versions) == 3
    assert "best" in versions[-1].aliases
    assert all(json.loads(version.metadata)["a"] == 1 for version in versions)


@pytest.mark.any_framework
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_for_wandb_and_tf_keras(run, wandb_server, legacy, way):
    callback = kept.tf_keras.WandbModelCheckpoint("m{epoch}.h5", "loss")
    fit_legacy(legacy, WAYS[way](callback), epochs=1)
    fit_legacy(legacy, callback, epochs=1)
    fit_legacy(legacy, WAYS[way](callback), epochs=1)
    assert len(wandb_server.versions(f"run_{run.id}_model")) == 3


def test_a_copy_outlives_its_run(wandb_server, model):
    """A tuner copies the callback for each trial, and each trial has a run of its own."""
    import wandb

    with wandb.init(project="p"):
        original = kept.WandbModelCheckpoint("m{epoch}.keras")
    found = []
    for _ in range(2):
        with wandb.init(project="p") as run:
            copied = WAYS["deepcopy"](original)
            play([copied], losses(0.5), model=model)
        found.append(len(wandb_server.versions(f"run_{run.id}_model")))
    assert found == [1, 1]
