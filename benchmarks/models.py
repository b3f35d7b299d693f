"""The models that are saved, and their training data; all state is random numbers, not zeros."""

from __future__ import annotations

import math
import sys
from typing import Any

import keras
import numpy as np

Data = tuple[np.ndarray, np.ndarray]
BATCH = 8


def dense(megabytes: float) -> keras.Model:
    """Return three Dense layers whose weights and Adam state have so many megabytes."""
    width = math.isqrt(int(megabytes * 1e6 / (3 * 3 * 4)))
    layers = [keras.layers.Dense(width) for _ in range(3)]
    return compiled(keras.Sequential([keras.Input((width,)), *layers]))


def deep(count: int) -> keras.Model:
    """Return a chain of so many small Dense layers."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20 * count + 10_000))
    tensor = source = keras.Input((16,))
    for _ in range(count):
        tensor = keras.layers.Dense(16)(tensor)
    model = compiled(keras.Model(source, tensor))
    scramble(model)
    return model


def frozen(megabytes: float) -> keras.Model:
    """Return a base of so many megabytes that is not trained, under a small head that is."""
    width = math.isqrt(int(megabytes * 1e6 / (2 * 4)))
    base = [keras.layers.Dense(width, trainable=False) for _ in range(2)]
    head = [keras.layers.Dense(64, activation="tanh"), keras.layers.Dense(10)]
    return compiled(keras.Sequential([keras.Input((width,)), *base, *head]))


def compiled(model: keras.Model) -> keras.Model:
    """Return the model with Adam and its state."""
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def samples(model: keras.Model, batches: int) -> Data:
    """Return random data for so many batches."""
    random = np.random.default_rng(0)
    count = BATCH * batches
    shapes = (model.input_shape[-1], model.output_shape[-1])
    return tuple(random.standard_normal((count, width), np.float32) for width in shapes)


def fed(data: Data, times: int) -> dict[str, Any]:
    """Return what fit takes to have a batch so many times.

    For TensorFlow a dataset that does not tune itself. One that does, which is what Keras makes of
    arrays, waits for a thread of its own when an epoch ends, up to a second with or without a save;
    a callback that itself keeps the training as long hides that wait.
    """
    x, y = (array.repeat(times, axis=0) for array in data)
    if keras.backend.backend() != "tensorflow":
        return {"x": x, "y": y, "batch_size": BATCH}
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    return {"x": batches.with_options(options)}


def variables(model: keras.Model) -> list[keras.Variable]:
    """Return weights and optimizer state: what a checkpoint holds."""
    return [*model.variables, *model.optimizer.variables]


def values(model: keras.Model) -> list[np.ndarray]:
    """Return copies of weights and optimizer state."""
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in variables(model)]


def scramble(model: keras.Model) -> None:
    """Give weights and optimizer slots other random values, but not the learning rate."""
    random = np.random.default_rng()
    for variable in variables(model):
        if variable.dtype == "float32" and variable.name != "learning_rate":
            variable.assign(random.standard_normal(variable.shape, np.float32))
