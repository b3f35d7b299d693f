"""Optimizers that were built in one run and not in the other, or that train other variables."""

import keras
import numpy as np
import pytest

import kept


def make():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.second = keras.optimizers.Adam(0.01, name="second")
    return model


def step(optimizer, variables):
    optimizer.apply([keras.ops.ones(one.shape) for one in variables], variables)


def save(model, **options):
    options = {"save_weights_only": True, "name": "m", "monitor": "loss", **options}
    saver = kept.ModelCheckpoint("m.weights.h5", **options)
    saver.set_model(model)
    saver.on_epoch_end(0, {"loss": 1.0})
    saver.close()


def values(optimizer):
    return [np.array(keras.ops.convert_to_numpy(one)) for one in optimizer.variables]


def assert_same(optimizer, other):
    for one, two in zip(values(optimizer), values(other), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["optimizer", "second"])
def test_one_that_has_trained_becomes_as_it_was_before_its_first_step(name, capsys):
    saved, resumed, again = make(), make(), make()
    save(saved)
    step(getattr(resumed, name), resumed.layers[1].trainable_variables)
    kept.resume(resumed, "m")
    assert capsys.readouterr().out == ""
    for model in (resumed, again):
        step(getattr(model, name), model.layers[1].trainable_variables)
    assert_same(getattr(resumed, name), getattr(again, name))


@pytest.mark.parametrize("part", [0, 1])
def test_one_that_has_not_trained_is_built_with_the_weights_of_the_saved_one(part):
    saved, resumed = make(), make()
    step(saved.second, saved.layers[part].trainable_variables)
    save(saved)
    kept.resume(resumed, "m")
    assert_same(resumed.second, saved.second)


def test_one_that_trains_a_model_outside_is_named(capsys):
    saved, outside = make(), make()
    step(saved.second, outside.trainable_variables)
    save(saved)
    kept.resume(make(), "m")
    said = capsys.readouterr().out
    assert "state was not restored, so the results differ" in said
    assert "'second'" in said


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="a newer Keras has it")
def test_several_in_one():
    def multiple():
        model = make()
        one, other = keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.Adam()
        first = {one.path for one in model.layers[0].weights}
        several = keras.optimizers.MultiOptimizer(lambda v: one if v.path in first else other)
        model.compile(several, "mse")
        return model

    saved, resumed = multiple(), multiple()
    step(saved.optimizer, saved.trainable_variables)
    save(saved)
    kept.resume(resumed, "m")
    assert_same(resumed.optimizer, saved.optimizer)


@pytest.mark.skipif(keras.__version__ < "3.14", reason="this Keras saves no nested containers")
def test_those_in_nested_containers_are_of_the_moment_and_come_back():
    def nested():
        model = make()
        model.several = {"a": [keras.optimizers.Adam()], "b": ({"c": model.second},)}
        return model, model.several["a"][0]

    (saved, inner), (resumed, here) = nested(), nested()
    step(inner, saved.layers[0].trainable_variables)
    save(saved)
    kept.resume(resumed, "m")
    assert_same(here, inner)


@pytest.mark.parametrize("background", [True, False])
def test_what_a_layer_does_not_save_comes_back(background):
    class Counts(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],))
            self.count = self.add_weight(shape=(), trainable=False)

        def call(self, x):
            return x * self.scale

        def save_own_variables(self, store):
            store["half"] = keras.ops.convert_to_numpy(self.scale) / 2

        def load_own_variables(self, store):
            self.scale.assign(2 * store["half"][()])

    def counting():
        model = keras.Sequential([keras.Input((4,)), Counts(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    saved, resumed = counting(), counting()
    saved.layers[0].count.assign(7)
    save(saved, background=background)
    kept.resume(resumed, "m")
    for one, other in zip(resumed.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (one, other)))
