"""W&B's published Keras examples, with its own callback and with kept's in its place.

What reaches the server is compared field by field. kept's versions have the alias best and metadata
besides. W&B's callback needs TensorFlow, so these tests do as well.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import keras
import pytest

import kept
from tests.training.helpers import fit, losses, make_model, play

wandb = pytest.importorskip("wandb")
if keras.backend.backend() != "tensorflow":
    pytest.skip("W&B's callback needs TensorFlow", allow_module_level=True)
from wandb.integration.keras import WandbMetricsLogger, WandbModelCheckpoint  # noqa: E402

_NOT_COMPARED = {"_runtime", "_timestamp", "_wandb"}  # times, and what runs on which machine
FALLING = [{"loss": 0.9 - n / 10, **each} for n, each in enumerate(losses(0.8, 0.7, 0.6))]


def run_facts(run):
    """What the server knows of a run, without its id and its times."""
    config = json.loads(run.fields["config"])
    telemetry = config.pop("_wandb")["value"]["t"]
    lines = {
        name: [{k: v for k, v in json.loads(one).items() if k not in _NOT_COMPARED} for one in all]
        for name, all in run.lines.items()
        if name in ("wandb-history.jsonl", "wandb-summary.json")
    }
    fields = {k: v for k, v in run.fields.items() if k not in ("name", "config")}
    return [run.state, run.exit_code, sorted(run.files), config, telemetry, lines, fields]


def content(name, data):
    """The bytes of a file, without the date, the ids and the counters of a .keras file."""
    if not name.endswith(".keras"):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = {n: archive.read(n) for n in archive.namelist() if n != "metadata.json"}
    counted = rb'"shared_object_id": \d+|input_layer(_\d+)?'
    return found | {"config.json": re.sub(counted, b"", found["config.json"])}


def version_facts(server, version):
    """What the server knows of a version, except its metadata."""
    files = {name: content(name, data) for name, data in server.content(version).items()}
    return [
        version.index, version.collection.type, set(version.aliases) - {"best"}, files,
        version.history_step, version.description, version.ttl, version.tags, version.state,
    ]  # fmt: skip


def compare(server, theirs, ours):
    """Compare what two runs have left on the server; return kept's versions."""
    assert run_facts(server.run(theirs)) == run_facts(server.run(ours))
    expected, found = (server.versions(f"run_{run}_model") for run in (theirs, ours))
    assert found
    for their, our in zip(expected, found, strict=True):
        assert version_facts(server, their) == version_facts(server, our)
        assert their.metadata is None
        assert {"epoch", "batch", "metrics", "monitor", "value"} <= set(json.loads(our.metadata))
    values = [json.loads(version.metadata)["value"] for version in found]
    [best] = [version.index for version in found if "best" in version.aliases]
    assert best == values.index(min(values))
    return found


def both(train):
    """Run an example with W&B's callback and with kept's; return the ids of the two runs."""
    ids = []
    for number, callback in enumerate((WandbModelCheckpoint, kept.WandbModelCheckpoint)):
        folder = Path(str(number))
        folder.mkdir(exist_ok=True)
        before = os.getcwd()
        os.chdir(folder)
        try:
            with wandb.init(project="p", config={"bs": 12}) as run:
                train(callback)
        finally:
            os.chdir(before)
        ids.append(run.id)
    assert sorted(p.name for p in Path("0").rglob("*")) == sorted(
        p.name for p in Path("1").rglob("*")
    )
    return ids


def test_the_page_of_the_integration(wandb_server, data):
    def train(checkpoint):
        callbacks = [WandbMetricsLogger(log_freq=2), checkpoint("models/{epoch:02d}.keras")]
        model = make_model()
        model.run_eagerly = True  # the graph of a step takes seconds
        fit(model, data, *callbacks, epochs=2, validation_split=0.2)

    assert len(compare(wandb_server, *both(train))) == 2


EXAMPLES = {
    "each epoch": ("model-{epoch:02d}-{val_loss:.2f}.keras", {}, 3),
    "weights": ("w.weights.h5", {"save_weights_only": True}, 3),
    "the best only": ("best.keras", {"save_best_only": True, "monitor": "val_loss"}, 3),
    "every two batches": ("{epoch:02d}-{batch}.keras", {"save_freq": 2, "monitor": "loss"}, 6),
    "with a threshold": ("m.keras", {"save_best_only": True, "initial_value_threshold": 9.0}, 3),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example(wandb_server, example):
    filepath, options, count = EXAMPLES[example]

    def train(checkpoint):
        callbacks = [WandbMetricsLogger(), checkpoint(filepath, **options)]
        play(callbacks, FALLING, model=make_model(), batches=4)

    assert len(compare(wandb_server, *both(train))) == count


def test_a_sweep(wandb_server):
    """Its agent calls the function of the user in a new thread for each run of one process."""
    runs = []

    def train(checkpoint, seed):
        with wandb.init(project="p", config={"seed": seed}, group="sweep") as run:
            callbacks = [WandbMetricsLogger(), checkpoint("models/{epoch:02d}.keras")]
            play(callbacks, FALLING, model=make_model(seed=seed))
        runs.append(run.id)

    for seed in (1, 2):
        for checkpoint in (WandbModelCheckpoint, kept.WandbModelCheckpoint):
            agent = threading.Thread(target=train, args=(checkpoint, seed))
            agent.start()
            agent.join()
    compare(wandb_server, *runs[:2])
    compare(wandb_server, *runs[2:])


TF_KERAS = """
import os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
import tf_keras
import wandb
from wandb.integration.keras import WandbMetricsLogger, WandbModelCheckpoint
import kept

for number, checkpoint in enumerate((WandbModelCheckpoint, kept.WandbModelCheckpoint)):
    for filepath, options in (
        ("models/", {}),
        ("models", {"save_best_only": True}),
        ("model-{epoch:02d}-{val_loss:.2f}.h5", {}),
        ("weights/{epoch:02d}.h5", {"save_weights_only": True}),
    ):
        tf_keras.utils.set_random_seed(1)
        tf_keras.backend.clear_session()
        os.makedirs(str(number), exist_ok=True)
        os.chdir(str(number))
        with wandb.init(project="p", config={"bs": 12}) as run:
            model = tf_keras.Sequential([tf_keras.Input((6,)), tf_keras.layers.Dense(1)])
            model.compile("sgd", "mse")
            x = np.ones((8, 6), "float32")
            both = [WandbMetricsLogger(log_freq=2), checkpoint(filepath, **options)]
            model.fit(x, x[:, :1], 4, 2, validation_split=0.5, verbose=0, callbacks=both)
        os.chdir("..")
        print("run", run.id)
"""


@pytest.mark.integration
def test_the_notebook_on_tf_keras(wandb_server):
    """Folders have times and counters in them, so their names are compared, and not their bytes."""
    done = subprocess.run(
        [sys.executable, "-c", TF_KERAS], stdout=subprocess.PIPE, text=True, check=True, timeout=240
    )
    runs = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("run ")]
    for theirs, ours in zip(runs[:4], runs[4:], strict=True):
        assert run_facts(wandb_server.run(theirs)) == run_facts(wandb_server.run(ours))
        pair = zip(
            *(wandb_server.versions(f"run_{run}_model") for run in (theirs, ours)), strict=True
        )
        for their, our in pair:
            expected, found = (version_facts(wandb_server, v) for v in (their, our))
            expected[3], found[3] = sorted(expected[3]), sorted(found[3])
            assert found == expected
