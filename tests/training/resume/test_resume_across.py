"""A run that continues with another framework or Keras than it was saved with reports it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import kept
from tests.training.helpers import state
from tests.training.resume.resume_elsewhere import BREAK, fit_arrays, fit_data, plain_model
from tests.training.resume.test_resume import BATCHES, checkpoint, fit, make

FRAMEWORKS = ("jax", "torch", "tensorflow")
ROOT = Path(__file__).parents[3]
# What resume_elsewhere.py left on JAX, with the oldest and the newest Keras that are supported.
OTHER_KERAS = [
    folder
    for folder in sorted((ROOT / "tests/data/states").iterdir())
    if folder.name != f"keras-{keras.__version__}"
]


def others():
    """The other two frameworks; every framework is once the first, so that three ways will do."""
    here = FRAMEWORKS.index(keras.backend.backend())
    first, second = (FRAMEWORKS[(here + n) % 3] for n in (1, 2))
    return [first, pytest.param(second, marks=pytest.mark.integration)]


@pytest.fixture(scope="module", params=others())
def elsewhere(request, tmp_path_factory):
    """The folder of trainings that broke off on another framework, and that one's name."""
    other, folder = request.param, tmp_path_factory.mktemp("elsewhere")
    env = os.environ | {"KERAS_BACKEND": other, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-m", "tests.training.resume.resume_elsewhere", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == other
    return folder, other


def values(folder, name):
    with np.load(folder / f"{name}.npz") as file:
        return [file[key] for key in file.files]


def assert_same(model, wanted):
    assert len(state(model)) == len(wanted)
    for ours, theirs in zip(state(model), wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Moment(keras.callbacks.Callback):
    """Notes weights and optimizer before the first batch that is really trained on."""

    def __init__(self):
        super().__init__()
        self.epoch, self.found = 0, None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == divmod(BREAK, BATCHES):
            self.found = state(self.model)


def test_after_an_epoch_of_another_framework(elsewhere, capsys):
    folder, other = elsewhere
    model = make(seed=2)
    callback = kept.resume(model, "end", store=folder / "store")
    assert_same(model, values(folder, "end"))
    history = fit_arrays(model, callback)
    assert history.epoch == [0, 1, 2]
    assert int(model.optimizer.iterations) == 3 * BATCHES
    said = capsys.readouterr().out
    assert "continuing from end:v0 with epoch 2" in said
    here = f"this is {keras.__version__} on {keras.backend.backend()}"
    assert f"saved with Keras {keras.__version__} on {other}, {here}: the results will not" in said


def test_in_an_epoch_of_another_framework(elsewhere, capsys):
    folder, _ = elsewhere
    assert_continues(folder, folder / "store", capsys)


@pytest.mark.parametrize("folder", OTHER_KERAS, ids=lambda folder: folder.name)
def test_in_an_epoch_of_another_keras(folder, capsys):
    files = [folder / name for name in ("data.weights.h5", "kept-state.json", "kept-state.npz")]
    kept.open_store("store").log_artifact("data", files)
    said = assert_continues(folder, "store", capsys)
    there = folder.name.removeprefix("keras-")
    assert f"data:v0 was saved with Keras {there} on jax, this is {keras.__version__}" in said


def assert_continues(folder, store, capsys):
    """Resume in the middle of an epoch, and end where the training without a break did."""
    model, moment = plain_model(), Moment()
    history = fit_data(model, kept.resume(model, "data", store=store), moment)
    said = capsys.readouterr().out
    assert "continuing from data:v0 in epoch 2, after batch 2" in said
    for ours, theirs in zip(moment.found, values(folder, "data"), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert history.epoch == [0, 1, 2]
    for ours, theirs in zip(state(model), values(folder, "straight"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    return said


def test_arrays_that_another_framework_has_shuffled_begin_the_epoch_again(elsewhere, capsys):
    folder, other = elsewhere
    model = make(seed=2)
    callback = kept.resume(model, "array", store=folder / "store")
    assert_same(model, values(folder, "array"))
    fit_arrays(model, callback)
    here = keras.backend.backend()
    assert (
        f"continuing from array:v0 in epoch 2, after batch 2: {other} shuffled the data before, "
        f"and {here} shuffles it now, so this epoch starts again"
    ) in capsys.readouterr().out
    assert int(model.optimizer.iterations) == BREAK + 2 * BATCHES


def test_another_keras_is_reported(capsys):
    fit(make(), checkpoint(), epochs=1)
    store = kept.open_store()
    version = store.version("m")
    folder = version.download("old")
    told = json.loads((folder / "kept-state.json").read_text())
    (folder / "kept-state.json").write_text(json.dumps(told | {"keras_version": "3.0.0"}))
    store.log_artifact("m", [*folder.iterdir()], metadata={"epoch": 0})
    model = make(seed=2)
    assert fit(model, checkpoint(resume=True)).epoch == [0, 1, 2]
    assert int(model.optimizer.iterations) == 3 * BATCHES
    here = f"{keras.__version__} on {keras.backend.backend()}"
    said = capsys.readouterr().out
    assert "m:v1 was saved with Keras 3.0.0 on " in said
    assert f"this is {here}: the results will not be equal to the last bit" in said
