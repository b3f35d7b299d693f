"""Every variable that a checkpoint can hold is found, once."""

from __future__ import annotations

import keras
import pytest

from kept.training.snapshot.variables import optimizers_of, variables_of, wraps_modules


def dense(name="m"):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name=name)


def compiled():
    model = dense()
    model.compile(keras.optimizers.Adam(name="inner"), "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_variables)
    return model


class Gan(keras.Model):
    """A model with optimizers in attributes, and in a list and a dict that are attributes."""

    def __init__(self):
        super().__init__()
        self.inner = compiled()
        self.own = keras.optimizers.SGD(name="own")
        self.others = [keras.optimizers.SGD(name="first"), "no optimizer"]
        self.by_name = {"d": keras.optimizers.SGD(name="second")}


def test_weights_optimizer_and_metrics_are_found_once():
    model = compiled()
    found = variables_of(model)
    ids = [id(variable) for variable in found]
    assert len(set(ids)) == len(ids)
    wanted = [*model.weights, *model.optimizer.variables, *model.metrics_variables]
    assert {id(variable) for variable in wanted} <= set(ids)


def test_those_of_layers_that_are_no_weights_are_found():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5)])
    (seed,) = model.variables
    assert not model.weights
    assert any(variable is seed for variable in variables_of(model))


def test_extra_ones_come_last_and_no_second_time():
    model, extra = compiled(), keras.Variable(1.0)
    found = variables_of(model, [extra, model.weights[0], extra])
    assert found[-1] is extra
    assert len(found) == len(variables_of(model)) + 1


@pytest.mark.any_framework
def test_all_optimizers_are_found():
    names = {optimizer.name for optimizer in optimizers_of(Gan())}
    assert names == {"inner", "own", "first", "second"}


@pytest.mark.any_framework
def test_a_model_that_is_not_compiled_has_none():
    assert list(optimizers_of(dense())) == []


def test_modules_of_torch_are_found_at_every_depth():
    assert not wraps_modules(dense())
    if keras.backend.backend() != "torch":
        return
    import torch

    layer = keras.layers.TorchModuleWrapper(torch.nn.Linear(2, 2))
    inner = keras.Sequential([keras.Input((2,)), layer], name="inner")
    assert wraps_modules(keras.Sequential([keras.Input((2,)), inner]))
