"""Shapes that Keras's own training step trains."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from .base import BATCH, FRAMEWORK, ROWS, WIDTH, Shape, compiled, features, labels, mlp

_UNSHUFFLED = {"shuffle": False}  # so the states that pass from batch to batch mean something


def _series():
    x = np.random.default_rng(1).normal(size=(ROWS, 3, 2)).astype("float32")
    return x, x.sum(axis=(1, 2))[:, None]


def ema():
    model = keras.Sequential([mlp(WIDTH, 5), layers.BatchNormalization(), layers.Dense(1)])
    model.build((None, WIDTH))
    adam = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=5)
    return compiled(model, adam, "mse", metrics=["mae"])


def swapped_ema():
    model = mlp(WIDTH, 5, 1)
    return compiled(model, keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")


def seq2seq():
    source, target = keras.Input((4,), dtype="int32"), keras.Input((3,), dtype="int32")
    encoded = layers.Embedding(7, 4, mask_zero=True)(source)
    _, *states = layers.GRU(4, return_state=True, unroll=True)(encoded)
    words = layers.Embedding(7, 4)(target)
    decoder = layers.GRU(4, return_sequences=True, dropout=0.3, unroll=True)
    decoded = decoder(words, initial_state=states)
    attended = layers.MultiHeadAttention(2, 2, dropout=0.2)(decoded, encoded)
    output = layers.Dense(7, activation="softmax")(layers.LayerNormalization()(attended))
    model = keras.Model([source, target], output)
    return compiled(model, "adam", "sparse_categorical_crossentropy", metrics=["accuracy"])


def _sentences():
    words = np.random.default_rng(2).integers(0, 7, (ROWS, 10))
    return [words[:, :4], words[:, 4:7]], words[:, 7:]


def rnn():
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(BATCH, 3, 2)),
            layers.GRU(3, return_sequences=True, recurrent_dropout=0.3, unroll=True),
            # On torch Keras cannot train a stateful layer.
            layers.LSTM(3, stateful=FRAMEWORK != "torch", dropout=0.2, unroll=True),
            layers.Dense(1),
        ]
    )
    return compiled(model, keras.optimizers.RMSprop(0.01, momentum=0.5), "mse")


def multi_output():
    x = keras.Input((WIDTH,))
    shared = layers.Dropout(0.3)(layers.Dense(6, activation="relu")(x))
    outputs = {
        "score": layers.Dense(1, name="score")(shared),
        "kind": layers.Dense(3, activation="softmax", name="kind")(shared),
    }
    return compiled(
        keras.Model(x, outputs),
        keras.optimizers.Adamax(0.01),
        loss={"score": "huber", "kind": "sparse_categorical_crossentropy"},
        loss_weights={"score": 0.3, "kind": 1.0},
        metrics={"score": ["mae", keras.metrics.R2Score()], "kind": "accuracy"},
    )


def _two_targets():
    x = features()
    return x, {"score": x[:, :1].copy(), "kind": labels()}


def lora():
    x = keras.Input((WIDTH,))
    hidden = layers.Dense(6, activation="relu", name="frozen")(x)
    adapted = layers.Dense(6, name="adapted")
    model = keras.Model(x, layers.Dense(1)(layers.Dropout(0.2)(adapted(hidden))))
    model.get_layer("frozen").trainable = False
    adapted.enable_lora(2)
    return compiled(model, keras.optimizers.AdamW(0.02, weight_decay=0.01), "mse")


def multi_optimizer():
    sgd, adam = keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.Adam(0.01)
    several = keras.optimizers.MultiOptimizer(lambda one: adam if "bias" in one.path else sgd)
    return compiled(mlp(WIDTH, 5, 1), several, "mse")


def half_precision():
    half = keras.DTypePolicy("mixed_float16")
    model = keras.Sequential(
        [mlp(WIDTH, 5, dtype=half), layers.Dropout(0.2, dtype=half), layers.Dense(1)]
    )
    model.build((None, WIDTH))
    inner = keras.optimizers.Adam(0.01)
    scaled = keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0, dynamic_growth_steps=3)
    return compiled(model, scaled, "mse")


def accumulated():
    model = mlp(WIDTH, 5, 1)
    adam = keras.optimizers.Adam(0.01, gradient_accumulation_steps=3)
    return compiled(model, adam, "mse", weighted_metrics=["mae"])


def transformer():
    x = keras.Input((3, 2))
    hidden = layers.Dense(4)(x)
    attended = layers.MultiHeadAttention(2, 2, dropout=0.2)(hidden, hidden)
    hidden = layers.LayerNormalization()(hidden + attended)
    hidden = layers.SpectralNormalization(layers.Dense(4, activation="gelu"))(hidden)
    pooled = layers.AlphaDropout(0.2)(layers.GlobalAveragePooling1D()(hidden))
    model = keras.Model(x, layers.Dense(1)(pooled))
    return compiled(model, keras.optimizers.Lion(0.01, global_clipnorm=0.5), "mse")


def _target():
    x = features()
    return x, x[:, :1].copy()


SHAPES = {
    "ema": Shape(ema, _target, is_rare=True),
    "swapped_ema": Shape(
        swapped_ema,
        _target,
        lambda: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
        is_rare=True,
    ),
    "seq2seq": Shape(seq2seq, _sentences, is_rare=True),
    "rnn": Shape(rnn, _series, fit=_UNSHUFFLED),
    "multi_output": Shape(multi_output, _two_targets, ending=".keras", is_rare=True),
    "lora": Shape(lora, _target),
    "half_precision": Shape(half_precision, _target, is_rare=True),
    "accumulated": Shape(accumulated, _target, ending=".keras", is_rare=True),
    "multi_optimizer": Shape(multi_optimizer, _target, is_rare=True),
    "transformer": Shape(transformer, _series, is_rare=True),
}
if not hasattr(keras.optimizers, "MultiOptimizer"):  # before Keras 3.15
    del SHAPES["multi_optimizer"]
