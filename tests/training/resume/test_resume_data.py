"""Each kind of data, interrupted in the middle of an epoch: exact in a new process, or said not."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import kept
from tests.training.resume.resume_data import KINDS

ROOT, SOURCE = Path(__file__).parents[3], Path(kept.__file__).parents[1]
# Keras itself warns of these: fewer steps than batches, and the next epoch has the rest.
START_AGAIN = {"arrays_with_steps", "loader_with_steps", "py_dataset_with_steps"}
DOUBTFUL = {
    "py_dataset_that_reorders_itself": "Reordered.on_epoch_end does not change the batches",
    "loader_with_its_own_sampler": "ByNumPy has no state except the global random generators",
    "generator": "a new generator gives the same batches",
}
# On torch and TensorFlow the test runs with these kinds, at least one for each row of the table in
# docs/resume.md, and with the framework's own data; with the others it is an integration test.
EVERYWHERE = {
    *("arrays", "arrays_with_steps", "py_dataset_with_a_state", "loader_shuffled"),
    *("tf_data_reshuffled", "grain_iter", "generator", "dataset_of_kept"),
}
OWN = {"jax": "", "torch": "loader", "tensorflow": "tf_data"}[keras.backend.backend()]
USUAL = {kind for kind in KINDS if kind in EVERYWHERE or kind.startswith(OWN)}


def run(folder, when, kinds):
    script = "tests.training.resume.resume_data"
    command = [sys.executable, "-m", script, str(folder), when, *kinds]
    env = os.environ | {"PYTHONPATH": f"{SOURCE}:{ROOT}"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Returns what came out for the usual kinds, or for the others."""

    @functools.cache
    def of(is_usual):
        folder = tmp_path_factory.mktemp("data")
        kinds = [kind for kind in KINDS if (kind in USUAL) == is_usual]
        return run(folder, "before", kinds), run(folder, "after", kinds)

    return of


def all_kinds():
    marks = {True: [], False: [pytest.mark.integration]}
    return [pytest.param(kind, marks=marks[kind in USUAL]) for kind in KINDS]


@pytest.mark.parametrize("kind", all_kinds())
def test_resumed_in_the_middle_of_an_epoch(outcomes, kind):
    straight, resumed = (found[kind] for found in outcomes(kind in USUAL))
    said = [line for line in resumed["said"].splitlines() if "continuing from" in line]
    assert len(said) == 1
    assert "in epoch 2, after batch 2" in said[0]
    assert DOUBTFUL.get(kind, "continuing") in said[0]
    if kind in START_AGAIN:
        assert "finished batches are trained on again" in said[0]
        assert resumed["step"] == straight["step"] + 2
        return
    assert "trained on again" not in said[0]
    assert resumed["step"] == straight["step"]
    if kind != "py_dataset_that_reorders_itself":
        assert resumed["loss"] == straight["loss"]
        assert resumed["weights"] == straight["weights"]


def test_reading_a_stream_again_is_reported(outcomes):
    _, resumed = outcomes(True)
    streams = {"generator", "tf_data_repeated", "grain_iter_repeated", "grain_loader_repeated"}
    for kind in streams & USUAL:
        assert (
            "kept: reading 3 batches again to find the position in the data"
            in resumed[kind]["said"]
        )
    if "grain_repeated" in USUAL:
        assert "reading" not in resumed["grain_repeated"]["said"], "it is sliced"
