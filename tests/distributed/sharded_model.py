"""The model that tests shard across processes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

AXES = {
    "rows/embeddings": ("model", None),
    "up/kernel": (None, "model"),
    "up/bias": ("model",),
    "half/kernel": (None, "model"),
    "both/kernel": ("batch", "model"),
    "down/kernel": ("model", None),
}


def build() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(3000, 48, name="rows"),
            keras.layers.Dense(1000, name="up"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(64, name="half", dtype="bfloat16"),
            keras.layers.Dense(72, name="both"),
            keras.layers.Dense(4, name="down"),
        ]
    )
    model.compile(keras.optimizers.Adam(), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def shard(shape: tuple[int, int]) -> None:
    """Distribute the models that are built later over a mesh of all devices."""
    import keras

    mesh = keras.distribution.DeviceMesh(
        shape, ["batch", "model"], keras.distribution.list_devices()
    )
    layout = keras.distribution.LayoutMap(mesh)
    for name, axes in AXES.items():
        layout[f".*{name}"] = axes
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(
            layout_map=layout, batch_dim_name="batch", auto_shard_dataset=False
        )
    )


def variables(model: Any) -> list[Any]:
    return [*model.weights, *model.optimizer.variables]


def digests(arrays: list[np.ndarray[Any, Any]]) -> list[str]:
    return [hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for array in arrays]
