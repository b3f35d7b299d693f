"""Models of every kind: the background file is Keras's own, and loads back equal.

Each is trained for two epochs with the writer held until the end, so that both checkpoints are
written from snapshots while the live model has moved on.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import kept
from kept import messages
from tests.training.helpers import (
    AtTheEnd,
    LiveSave,
    assert_same_state,
    content,
    content_of,
    fit,
    make_data,
    play,
)

BUILDERS = {}


def builder(make):
    BUILDERS[make.__name__] = make
    return make


@keras.saving.register_keras_serializable("kept_tests")
class Scaled(layers.Layer):
    """Saves its variable in its own way, beside a number that is no variable."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.offset = self.add_weight(shape=(), initializer="zeros", name="offset")

    def call(self, x):
        return x * self.scale + self.offset

    def save_own_variables(self, store):
        store["both"] = np.append(
            keras.ops.convert_to_numpy(self.scale), keras.ops.convert_to_numpy(self.offset)
        )

    def load_own_variables(self, store):
        both = np.array(store["both"])
        self.scale.assign(both[:-1])
        self.offset.assign(both[-1])


@keras.saving.register_keras_serializable("kept_tests")
class Subclassed(keras.Model):
    def __init__(self, units=8, **options):
        super().__init__(**options)
        self.units = units
        self.blocks = [layers.Dense(units, activation="relu") for _ in range(2)]
        self.named = {"out": layers.Dense(1, activation="sigmoid")}
        self.calls = self.add_weight(shape=(), dtype="int32", trainable=False, name="calls")

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.named["out"](x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def sequential(*inside, dtype=None):
    return keras.Sequential(
        [keras.Input((6,)), *inside, layers.Dense(1, activation="sigmoid", dtype=dtype)]
    )


def compiled(model, optimizer="adam", **options):
    model.compile(optimizer, "binary_crossentropy", **options)
    return model


@builder
def own_saving():
    return compiled(sequential(layers.Dense(8), Scaled()))


@builder
def subclassed():
    return compiled(Subclassed(), metrics=["accuracy"])


@builder
def ema():
    optimizer = keras.optimizers.Adam(use_ema=True, ema_momentum=0.5)
    return compiled(sequential(layers.Dense(8)), optimizer)


@builder
def mixed_bfloat16():
    return compiled(sequential(layers.Dense(8, dtype="mixed_bfloat16"), dtype="mixed_bfloat16"))


@builder
def mixed_float16_with_loss_scaling():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    inside = layers.Dense(8, dtype="mixed_float16")
    return compiled(sequential(inside, dtype="mixed_float16"), optimizer)


@builder
def bfloat16_weights():
    return compiled(sequential(layers.Dense(8, dtype="bfloat16"), dtype="bfloat16"), "sgd")


@builder
def lora():
    model = sequential(layers.Dense(8), layers.Dense(8))
    model.layers[0].enable_lora(2)
    return compiled(model)


@builder
def dropout():
    return compiled(
        sequential(layers.Dense(8), layers.Dropout(0.5, seed=3), layers.GaussianNoise(1))
    )


@builder
def batch_norm():
    return compiled(sequential(layers.Dense(8), layers.BatchNormalization(momentum=0.5)))


@builder
def normalization():
    adapted = layers.Normalization()
    adapted.adapt(make_data()[0])
    return compiled(sequential(adapted, layers.Dense(8)))


@builder
def recurrent():
    inside = (layers.Reshape((6, 1)), layers.GRU(4, stateful=False), layers.LayerNormalization())
    return compiled(sequential(*inside))


@builder
def embedding():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Rescaling(10.0),
            layers.Embedding(50, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    return compiled(model)


@builder
def two_outputs():
    inputs = keras.Input((6,))
    inner = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(4)])
    x = inner(inputs)
    outputs = {n: layers.Dense(1, activation="sigmoid", name=n)(x) for n in ("a", "b")}
    return compiled(
        keras.Model(inputs, outputs, name="two_outputs"), metrics={"a": ["mae"], "b": ["accuracy"]}
    )


@builder
def frozen_base():
    base = layers.Dense(32)
    base.trainable = False
    return compiled(sequential(base, layers.Dense(4)))


@builder
def optimizers_of_other_shapes():
    return compiled(sequential(layers.Dense(8)), keras.optimizers.Adafactor())


def outputs(model):
    found = model(make_data()[0])
    found = list(found.values()) if isinstance(found, dict) else [found]
    return [keras.ops.convert_to_numpy(output).astype("float32") for output in found]


def train(model, gate, callback, live):
    x, y = make_data()
    y = {"a": y, "b": y} if model.name == "two_outputs" else y
    fit(model, (x, y), AtTheEnd(gate.open), live, callback, epochs=2, batch_size=20)


def checkpoint(ending):
    return kept.ModelCheckpoint(f"out/m{ending}", save_weights_only="weights" in ending)


@pytest.fixture(params=BUILDERS.values(), ids=BUILDERS)
def trained(request, gate, tmp_path):
    """A model trained with kept's callback and with Keras's own saves at the same moments."""
    keras.utils.set_random_seed(4)
    model = request.param()
    callback, live = checkpoint(".keras"), LiveSave(tmp_path / "live", ".keras", each="epoch")
    train(model, gate, callback, live)
    return model, callback, live


def test_is_what_keras_saves_and_loads_back_equal(trained, tmp_path, gate):
    model, callback, live = trained
    first, last = callback.versions
    assert content_of(first, tmp_path / "kept") == content(live.paths[0])
    assert content_of(last, tmp_path / "kept") == content(live.paths[1])
    assert first.digest != last.digest
    assert (
        callback._controller.saver._checkpoints.extra_variables == []
    )  # the snapshot held all that Keras asked for
    loaded, reference = last.load_model(), keras.saving.load_model(live.paths[1])
    assert_same_state(loaded, reference)
    if not model.optimizer.use_ema:  # at its end fit puts the averages into the weights
        np.testing.assert_allclose(outputs(loaded), outputs(model), rtol=1e-5)


def test_weights_alone(gate, tmp_path):
    model = subclassed()
    callback = checkpoint(".weights.h5")
    live = LiveSave(tmp_path / "live", ".weights.h5", each="epoch")
    train(model, gate, callback, live)
    for version, path in zip(callback.versions, live.paths, strict=True):
        assert content_of(version, tmp_path / "kept") == content(path)
    other = subclassed()
    other(make_data()[0])  # makes its variables
    callback.versions[-1].load_weights(other)
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_quantized(mode, gate, tmp_path):
    """Quantized weights cannot be trained on every framework, so the hooks are called."""
    model = sequential(layers.Dense(16), layers.Embedding(4, 4), layers.Flatten())
    model.quantize(mode)
    callback, live = checkpoint(".keras"), LiveSave(tmp_path / "live", ".keras", each="epoch")
    play([AtTheEnd(gate.open), live, callback], [{}, {}], model=model)
    for version, path in zip(callback.versions, live.paths, strict=True):
        assert content_of(version, tmp_path / "kept") == content(path)
    loaded = callback.versions[-1].load_model()
    assert_same_state(loaded, keras.saving.load_model(live.paths[-1]))
    np.testing.assert_allclose(outputs(loaded), outputs(model), rtol=1e-5)
    assert callback._controller.saver._checkpoints.extra_variables == []


def test_one_hundred_layers(gate, tmp_path):
    model = compiled(sequential(*(layers.Dense(4) for _ in range(100))))
    model.optimizer.build(model.trainable_variables)
    callback, live = checkpoint(".keras"), LiveSave(tmp_path / "live", ".keras", each="epoch")
    play([AtTheEnd(gate.open), live, callback], [{}, {}], model=model)
    for version, path in zip(callback.versions, live.paths, strict=True):
        assert content_of(version, tmp_path / "kept") == content(path)
    assert callback._controller.saver._checkpoints.extra_variables == []


def test_seeds_of_dropout_are_snapshots_too(gate, tmp_path):
    """Keras does not save them today; if it begins to, they come from the snapshot."""
    model = dropout()
    train(
        model,
        gate,
        callback := checkpoint(".keras"),
        LiveSave(tmp_path / "l", ".keras", each="epoch"),
    )
    seeds = [v for v in model.variables if "seed" in v.path]
    assert len(seeds) == 2
    lent = callback._controller.saver._pool.borrow(wait=True)
    assert all(lent.value(seed) is not None for seed in seeds)


def test_variables_of_no_list_are_live_at_first_and_then_snapshots(gate, tmp_path):
    """A layer can save a variable that it hides from Keras."""

    @keras.saving.register_keras_serializable("kept_tests")
    class Hidden(layers.Layer):
        def call(self, x):
            return x

        def save_own_variables(self, store):
            store["hidden"] = keras.ops.convert_to_numpy(hidden[0])

    hidden = [keras.Variable(7.0, name="hidden")]
    model = compiled(sequential(Hidden()))
    callback = checkpoint(".keras")
    gate.open()
    play([callback], [{}], model=model)
    assert callback._controller.saver._checkpoints.extra_variables == hidden
    play([callback], [{}, {}], model=model, start=1)
    assert callback._controller.saver._checkpoints.extra_variables == hidden


def test_optimizers_beside_the_model_s_own(gate, tmp_path):
    """As a GAN has them, or a model that is part of another; training changes them, too."""
    model, inner = Subclassed(), compiled(sequential())
    model.inner = inner
    compiled(model)(make_data()[0])
    model.second = keras.optimizers.Adam()
    model.several = [keras.optimizers.SGD(momentum=0.9)]
    model.named_ones = {"a": keras.optimizers.RMSprop()}
    others = [model.second, *model.several, *model.named_ones.values(), inner.optimizer]
    for optimizer in (model.optimizer, *others):
        optimizer.build(inner.trainable_variables)

    def train_them(*_, **__):
        for variable in (v for optimizer in others for v in optimizer.variables):
            variable.assign(variable + 1)

    callback, live = checkpoint(".keras"), LiveSave(tmp_path / "live", ".keras", each="epoch")
    move = keras.callbacks.LambdaCallback(on_train_batch_begin=train_them)
    play([move, AtTheEnd(gate.open), live, callback], [{}, {}], model=model)
    for version, path in zip(callback.versions, live.paths, strict=True):
        assert content_of(version, tmp_path / "kept") == content(path)
    assert callback._controller.saver._checkpoints.extra_variables == []


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="there are none")
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_modules_of_torch_are_saved_on_the_spot(ending, gate, tmp_path, capsys):
    """Keras asks the module for its tensors, running means among them, and no variable."""
    import torch
    from keras.src.utils import torch_utils

    if ending == ".keras" and not hasattr(torch_utils, "base64"):
        pytest.skip("this Keras cannot save its own wrapper as .keras")
    wrapped = [
        layers.TorchModuleWrapper(module, output_shape=(None, 8))
        for module in (torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8))
    ]
    model = compiled(sequential(*wrapped))
    callback, live = checkpoint(ending), LiveSave(tmp_path / "live", ending, each="epoch")
    messages._said.clear()
    train(model, gate, callback, live)
    for version, path in zip(callback.versions, live.paths, strict=True):
        assert content_of(version, tmp_path / "kept") == content(path)
    assert len({version.digest for version in callback.versions}) == 2
    told = "kept: files are written on the training thread: layers that wrap a torch.nn.Module"
    assert capsys.readouterr().out.count(told) == 1
