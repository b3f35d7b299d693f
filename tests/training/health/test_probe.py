"""Which tensors of a model are measured, in a snapshot and in the live model, and what is found."""

import keras
import numpy as np
import pytest

from kept.store.health.state import health_in
from kept.training.health.probe import HealthProbe
from kept.training.request import SaveRequest
from kept.training.snapshot.snapshot import Snapshot
from kept.training.snapshot.variables import variables_of
from tests.training.helpers import make_model

BACKGROUND = pytest.mark.parametrize("is_live", [False, True], ids=["snapshot", "live"])


def request_of(model, **more):
    return SaveRequest(
        model=model, artifact="m", path="m.keras", target="/m.keras", aliases=(), metadata={},
        label="Epoch 1", started=0.0, contends=True, **more
    )  # fmt: skip


class Probe:
    """Measures a model again and again."""

    def __init__(self, model, *, is_live=False):
        self.model, self.is_live = model, is_live
        self.probe = HealthProbe()

    def request(self, **more):
        snapshot = None
        if not self.is_live:
            snapshot = Snapshot(keras.backend.backend())
            snapshot.take(variables_of(self.model))
        return self.probe.measured(request_of(self.model, **more), snapshot)

    def __call__(self):
        return health_in(self.request().metadata)


def built(*layers, optimizer="adam"):
    model = keras.Sequential(layers, name="net")
    model.compile(optimizer, "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def dense(inputs=20, units=30, **options):
    return built(keras.Input((inputs,)), keras.layers.Dense(units, name="d", **options))


def assign(variable, value):
    variable.assign(np.array(value, "float32") if np.ndim(value) else value)


def changed(variable, place, value):
    array = np.array(keras.ops.convert_to_numpy(variable))
    array[place] = value
    variable.assign(array)


@BACKGROUND
def test_a_good_model_is_ok_and_has_a_norm(is_live):
    model = make_model()
    model.optimizer.build(model.trainable_variables)
    probe = Probe(model, is_live=is_live)
    first = probe()
    norm = np.sqrt(sum(np.sum(np.square(w, dtype=np.float64)) for w in model.get_weights()))
    assert (first.state, first.findings) == ("ok", ())
    assert first.norm == pytest.approx(float(norm), rel=1e-5)
    assert probe() == first


@BACKGROUND
def test_nan_in_a_kernel(is_live):
    model = dense()
    changed(model.layers[0].kernel, (slice(0, 3), 0), np.nan)
    found = Probe(model, is_live=is_live)()
    assert found.state == "unhealthy"
    assert found.findings == ("d/kernel: 3 of 600 values are NaN",)
    assert np.isnan(found.norm)


@BACKGROUND
def test_infinity_in_a_large_kernel(is_live):
    model = dense(300, 40)
    changed(model.layers[0].kernel, (299, 39), -np.inf)
    found = Probe(model, is_live=is_live)()
    assert found.findings == ("d/kernel: 1 of 12,000 values are infinite",)


@BACKGROUND
def test_nan_in_the_optimizer_alone(is_live):
    model = dense()
    slot = next(v for v in model.optimizer.variables if "momentum" in v.path)
    changed(slot, (0, 0), np.nan)
    found = Probe(model, is_live=is_live)()
    assert found.state == "unhealthy"
    assert len(found.findings) == 1
    assert "momentum: 1 of 600 values are NaN" in found.findings[0]
    assert np.isfinite(found.norm)


@BACKGROUND
def test_nan_in_a_metric_is_no_finding(is_live):
    model = make_model()
    model.optimizer.build(model.trainable_variables)
    for variable in model.metrics_variables:
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    assert Probe(model, is_live=is_live)().state == "ok"


@BACKGROUND
def test_a_layer_that_explodes_and_comes_back(is_live):
    model = dense()
    probe = Probe(model, is_live=is_live)
    probe()
    before = model.get_weights()
    model.set_weights([value * 5000 for value in before])
    found = probe()
    assert found.findings == (
        "d: the norm of its weights is 5,000 times that of the version before",
    )
    assert probe().state == "ok"  # it is compared with the version before, and is the same
    model.set_weights(before)
    assert "1/5,000" in probe().findings[0]


@BACKGROUND
def test_a_layer_that_explodes_and_is_rolled_back(is_live):
    model = dense()
    probe = Probe(model, is_live=is_live)
    probe()
    before = model.get_weights()
    model.set_weights([value * 5000 for value in before])
    assert probe().state == "unhealthy"
    model.set_weights(before)
    assert probe().state == "ok"


class Masked(keras.layers.Dense):
    """A layer with a mask that no training changes."""

    def build(self, shape):
        super().build(shape)
        mask = np.triu(np.full((20, 20), -np.inf, "float32"), 1)
        self.mask = self.add_weight(shape=(20, 20), name="mask", trainable=False,
                                    initializer=lambda *_, **__: mask)  # fmt: skip


@BACKGROUND
def test_infinities_that_no_training_made(is_live):
    model = built(keras.Input((20,)), Masked(20, name="d"))
    probe = Probe(model, is_live=is_live)
    first = probe()
    assert (first.state, first.findings) == ("notes", ("d/mask: 190 of 400 values are infinite",))
    assert probe().state == "ok"
    changed(model.layers[0].mask, (5, 0), np.inf)
    assert probe().state == "unhealthy"
    assert probe().state == "unhealthy"
    changed(model.layers[0].mask, (5, 0), 0)
    assert probe().state == "ok"
    changed(model.layers[0].kernel, (5, 0), np.inf)
    assert probe().findings == ("d/kernel: 1 of 400 values are infinite",)


@BACKGROUND
@pytest.mark.parametrize("inputs", [20, 300], ids=["small", "large"])
def test_units_that_die(is_live, inputs):
    model = dense(inputs)
    probe = Probe(model, is_live=is_live)
    probe()
    changed(model.layers[0].kernel, (slice(None), slice(0, 5)), 0)
    found = probe()
    text = "d/kernel: 5 of 30 units are newly dead, all their weights are 0"
    assert (found.state, found.findings) == ("notes", (text,))
    assert probe().state == "ok"
    changed(model.layers[0].kernel, (slice(None), slice(5, 20)), 0)
    assert probe().state == "unhealthy"


@pytest.mark.parametrize("start", [0.0, 1e-7])
def test_a_layer_that_begins_at_zero_may_grow(start):
    kernel = keras.initializers.Constant(start)
    model = dense(kernel_initializer=kernel)
    probe = Probe(model)
    assert probe().state == "ok"
    model.layers[0].kernel.assign(np.random.default_rng(0).normal(0, 0.2, (20, 30)))
    assert probe().state == "ok"


def test_a_pruned_model_stays_ok():
    model = dense(300, 40)
    rng = np.random.default_rng(0)
    mask = rng.random((300, 40)) < 0.1
    mask[:, :30] = False
    probe = Probe(model)
    for _ in range(3):
        model.layers[0].kernel.assign(rng.normal(0, 0.1, (300, 40)) * mask)
        assert probe().state == "ok"


def test_the_averages_of_a_normalization_may_grow():
    model = built(keras.Input((20,)), keras.layers.BatchNormalization(), keras.layers.Dense(3))
    probe = Probe(model)
    probe()
    model.layers[0].moving_variance.assign(np.full(20, 1e7))
    assert probe().state == "ok"
    model.layers[0].moving_variance.assign(np.full(20, np.inf))
    assert probe().state == "unhealthy"


class Odd(keras.layers.Layer):
    """Weights of other types, of no values, and of one."""

    def build(self, _):
        self.add_weight(shape=(), name="scalar", initializer="ones")
        self.add_weight(shape=(0, 4), name="empty")
        self.add_weight(shape=(3,), dtype="int32", name="whole", initializer="ones",
                        trainable=False)  # fmt: skip
        self.add_weight(shape=(3,), dtype="bool", name="flags", initializer="zeros",
                        trainable=False)  # fmt: skip
        self.add_weight(shape=(1, 4), name="row", initializer="zeros")
        self.built = True

    def call(self, x):
        return x


@BACKGROUND
def test_odd_variables(is_live):
    model = built(keras.Input((2,)), Odd(name="odd"), keras.layers.Dense(2))
    probe = Probe(model, is_live=is_live)
    assert probe().state == "ok"
    scalar = next(v for v in model.weights if v.name == "scalar")
    scalar.assign(1e9)  # a layer of few values may have any norm
    assert probe().state == "ok"
    scalar.assign(np.nan)
    assert probe().findings == ("odd/scalar: the value is NaN",)


@BACKGROUND
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("inputs", [20, 301], ids=["small", "large"])
def test_each_floating_type(is_live, dtype, inputs):
    model = built(
        keras.Input((inputs,)), keras.layers.Dense(31, name="d", dtype=dtype), optimizer="sgd"
    )
    probe = Probe(model, is_live=is_live)
    first = probe()
    assert first.state == "ok"
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(model.layers[0].kernel, "float32"))
    assert first.norm == pytest.approx(float(np.linalg.norm(kernel)), rel=1e-3)
    array = np.array(kernel)
    array[:, :20] = 0
    model.layers[0].kernel.assign(array)
    assert "20 of 31 units are newly dead" in probe().findings[0]
    array[0, 30] = np.inf
    model.layers[0].kernel.assign(array)
    assert f"1 of {31 * inputs:,} values are infinite" in probe().findings[0]


def test_a_model_without_weights_or_optimizer():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Activation("relu")])
    found = Probe(model)()
    assert (found.state, found.norm) == ("ok", 0.0)


def test_a_model_that_changes_is_measured_as_it_is():
    model = dense()
    probe = Probe(model)
    probe()
    probe.model = built(keras.Input((5,)), keras.layers.Dense(4, name="new"))
    changed(probe.model.layers[0].kernel, (0, 0), np.nan)
    assert probe().findings == ("new/kernel: 1 of 20 values are NaN",)


@BACKGROUND
def test_another_model_with_equal_layers_is_not_compared(is_live):
    probe = Probe(dense(), is_live=is_live)
    probe()
    probe.model = dense(kernel_initializer="zeros")
    assert probe().state == "ok"


def test_a_shared_layer_is_measured_once():
    layer = keras.layers.Dense(8, name="twice")
    source = keras.Input((8,))
    model = keras.Model(source, layer(layer(source)))
    changed(layer.kernel, (0, 0), np.nan)
    assert len(Probe(model)().findings) == 1


def test_an_unhealthy_checkpoint_does_not_contend_and_keeps_the_file_of_the_best():
    model = dense()
    probe = Probe(model)
    good = probe.request(best_only=True)
    assert (good.contends, good.publish) == (True, True)
    changed(model.layers[0].kernel, (0, 0), np.nan)
    bad = probe.request(best_only=True)
    assert (bad.contends, bad.publish) == (False, False)
    assert probe.request().publish  # any other file is replaced


def test_an_error_fails_no_save(monkeypatch, capsys):
    from kept.training.health import probe as module

    def fail(*_):
        raise RuntimeError("odd variable")

    monkeypatch.setattr(module, "tensors_of", fail)
    probe = Probe(dense())
    assert probe().state is None
    assert probe.request().contends
    assert "health is not measured: RuntimeError: odd variable" in capsys.readouterr().out


def test_many_small_layers_have_their_own_names():
    layers = [keras.layers.Dense(16, name=f"d{n}") for n in range(40)]
    model = built(keras.Input((16,)), *layers)
    probe = Probe(model)
    probe()
    changed(layers[7].bias, 3, np.nan)
    changed(layers[21].kernel, (slice(None), slice(0, 9)), 0)
    found = probe().findings
    assert found == (
        "d7/bias: 1 of 16 values are NaN",
        "d21/kernel: 9 of 16 units are newly dead, all their weights are 0",
    )
