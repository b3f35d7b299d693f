"""Bytes on the disk for versions of one training run: real images, every epoch a version.

Adam in fp32: the whole model with its optimizer, as a .keras file. All get the same epochs: kept,
a folder of files compressed with zstd, W&B (offline, its artifacts), trackio (its artifacts, in a
local folder) and Orbax (OCDBT, as Keras's callback writes it).

Weights in bf16: what is saved are the weights alone. Two runs: fine-tuning in mixed_bfloat16 with
Adam at 1e-5, of which the bf16 copies of the weights are saved, as models are published; and a
training from scratch wholly in bfloat16. This one is with SGD and momentum: Keras's Adam moves no
weight there, since 1 - 0.999^t is 0 in bf16. At higher rates weights change more often; those rows
have no limit.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import keras
import zstandard

import kept
from benchmarks.contenders import Orbax
from benchmarks.measure import bytes_below, timed, workspace
from benchmarks.rows import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Save = Callable[[str], None]


def measure(*, quick: bool) -> Outcome:
    """Count bytes, which no other program can disturb; compacted as `kept compact` does."""
    versions = 3 if quick else 20
    outcome = Outcome()
    _adam(outcome, versions)
    _bf16(outcome, versions)
    return outcome


def _adam(outcome: Outcome, versions: int) -> None:
    with workspace() as folder:
        store, sizes = _trained(folder, versions)
        committed = store.usage().stored
        outcome.seconds["compacting"] = timed(store.compact)
        stored = store.usage().stored
        assert store.verify().ok
    raw = sizes.pop("whole files")
    outcome.add("Adam, fp32: kept, compacted / whole files", stored, raw, 0.75)
    outcome.add("Adam, fp32: kept, as committed / whole files", committed, raw)
    for name, size in sizes.items():
        outcome.add(f"Adam, fp32: {name} / whole files", size, raw)
    outcome.raw |= {"raw": raw, "committed": committed, "compacted": stored} | sizes


def _trained(folder: str, versions: int) -> tuple[kept.Store, dict[str, int]]:
    """Return the store, and how many bytes the peers need."""
    x, y = digits()
    model = network()
    model.compile(keras.optimizers.Adam(1e-3), _loss())
    store, raw, packed = kept.open_store(os.path.join(folder, "store")), 0, 0
    peers = [_WandB(os.path.join(folder, "wandb")), _Trackio(os.path.join(folder, "trackio"))]
    orbax = Orbax(most=versions)
    os.mkdir(os.path.join(folder, "peer"))
    callback = orbax.callback(os.path.join(folder, "peer"), "epoch")
    for epoch in range(versions):
        model.fit(x, y, 64, epoch + 1, verbose=0, initial_epoch=epoch, callbacks=[callback])
        path = os.path.join(folder, "model.keras")
        model.save(path)
        store.log_artifact("digits", path)
        for peer in peers:
            peer.log(path)
        with open(path, "rb") as file:
            data = file.read()
        raw += len(data)
        packed += len(zstandard.ZstdCompressor(level=3).compress(data))
    sizes = {
        "whole files": raw,
        "files compressed with zstd": packed,
        "Orbax": bytes_below(os.path.join(folder, "peer")),
    }
    return store, sizes | {peer.name: peer.size() for peer in peers}


class _WandB:
    """Artifacts of an offline run of W&B: what a sync would upload is staged in its folder."""

    name = "W&B"

    def __init__(self, folder: str) -> None:
        os.mkdir(folder)
        self._folder = folder
        for variable in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            os.environ[variable] = folder
        os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
        import wandb

        self._wandb, self._run = wandb, wandb.init(project="bench")

    def log(self, path: str) -> None:
        artifact = self._wandb.Artifact("digits", "model")
        artifact.add_file(path)
        self._run.log_artifact(artifact)

    def size(self) -> int:
        self._run.finish()
        return bytes_below(self._folder)


class _Trackio:
    """Artifacts of a local run of trackio, without its figures of the machine."""

    name = "trackio"

    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.environ |= {"TRACKIO_DIR": folder, "HF_HUB_OFFLINE": "1"}
        import trackio

        self._trackio = trackio
        trackio.init(project="bench", name="bench", auto_log_gpu=False, auto_log_cpu=False)

    def log(self, path: str) -> None:
        artifact = self._trackio.Artifact("digits", "model")
        artifact.add_file(path)
        self._trackio.log_artifact(artifact)

    def size(self) -> int:
        self._trackio.finish()
        return bytes_below(self._folder)


def _bf16(outcome: Outcome, versions: int) -> None:
    x, y = digits()
    half = len(x) // 2
    first, second = (x[:half], y[:half]), (x[half:], y[half:])
    before = network("mixed_bfloat16")
    before.compile(keras.optimizers.Adam(1e-3), _loss())
    before.fit(*first, batch_size=64, epochs=versions, verbose=0)
    for rate, limit in ((1e-5, 0.25), (1e-4, None)):
        model = network("mixed_bfloat16")
        model.compile(keras.optimizers.Adam(rate), _loss())
        model.set_weights(before.get_weights())
        ratio = _later(model, second, versions)
        outcome.add(f"bf16 weights, fine-tuning at {rate:g}: further versions / whole files",
                    ratio, 1, limit)  # fmt: skip
    model = network("bfloat16")
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), _loss())
    ratio = _later(model, first, versions)
    what = "bf16 weights, all training in bf16: further versions / whole files"
    outcome.add(what, ratio, 1, 0.25)


def _later(model: keras.Model, data: tuple[Any, Any], versions: int) -> float:
    """Return the stored part of the bytes of all versions but the first."""
    plain = network("bfloat16")
    with workspace() as folder:
        path = os.path.join(folder, "model.weights.h5")
        store, raw, first = kept.open_store(os.path.join(folder, "store")), 0, 0
        for version in range(versions):
            model.fit(*data, batch_size=64, epochs=1, verbose=0)
            plain.set_weights(model.get_weights())
            plain.save_weights(path)
            store.log_artifact("digits", path)
            if version == 0:
                store.compact()
                first = store.usage().stored
            else:
                raw += os.path.getsize(path)
        store.compact()
        assert store.verify().ok
        return (store.usage().stored - first) / raw


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return real images, and what they show."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype("float32").reshape(-1, 8, 8, 1), y


def network(policy: str = "float32") -> keras.Model:
    """Return a network for them, always the same one."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu", dtype=policy),
            layers.Conv2D(64, 3, padding="same", activation="relu", dtype=policy),
            layers.Flatten(dtype=policy),
            layers.Dense(256, activation="relu", dtype=policy),
            layers.Dense(10, dtype=policy),
        ]
    )


def _loss() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
