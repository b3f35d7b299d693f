"""kept finds a fit of Keras in the frames of its callers, by names that were checked."""

from __future__ import annotations

import inspect
import types
from importlib.metadata import version
from importlib.util import find_spec

import keras
import numpy as np
import pytest

from kept.training.keras_api import callers


class Probe(keras.callbacks.Callback):
    """Records what callers finds in each hook."""

    def __init__(self):
        super().__init__()
        self.found = {}

    def on_train_begin(self, logs=None):
        self.look("train")

    def on_epoch_begin(self, epoch, logs=None):
        self.look("epoch")

    def on_train_batch_end(self, batch, logs=None):
        self.look("batch")

    def look(self, hook):
        self.found[hook] = callers.find_fit(), callers.is_in_fit(inspect.currentframe())


def model():
    made = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


@pytest.mark.parametrize("hook", ["train", "epoch", "batch"])
def test_every_hook_sees_the_callbacks_and_the_data_of_its_fit(hook):
    probe, other = Probe(), keras.callbacks.Callback()
    x = np.ones((4, 1), "float32")
    model().fit(x, x, batch_size=2, verbose=0, callbacks=[other, probe])
    (callbacks, epochs), is_in_fit = probe.found[hook]
    assert callbacks[:2] == (other, probe)
    assert epochs.data_adapter.batch_size == 2
    assert is_in_fit


def test_outside_a_fit_there_is_nothing():
    assert callers.find_fit() == ((), None)
    assert not callers.is_in_fit(inspect.currentframe())
    assert not callers.is_in_fit(None)


def test_callbacks_in_a_loop_of_the_user_are_found_without_data():
    probe = Probe()
    keras.callbacks.CallbackList([probe], model=model()).on_train_begin()
    (callbacks, epochs), is_in_fit = probe.found["train"]
    assert probe in callbacks
    assert epochs is None
    assert not is_in_fit


@pytest.mark.any_framework
def test_a_fit_of_another_kind_is_not_one_of_keras():
    def fit():
        rows = 3  # not a name that Keras has
        return callers.is_in_fit(inspect.currentframe()), rows

    assert fit() == (False, 3)


@pytest.mark.any_framework
def test_an_evaluation_is_no_fit():
    def evaluate():
        epoch_iterator = types.SimpleNamespace(data_adapter=None)  # as Keras has it there, too
        return callers.is_in_fit(inspect.currentframe()), callers.find_fit(), epoch_iterator

    assert evaluate()[:2] == (False, ((), None))


@pytest.mark.any_framework
def test_names_are_enough_for_tf_keras():
    def fit():
        data_handler = object()
        return callers.is_in_fit(inspect.currentframe()), data_handler

    assert fit()[0]


@pytest.mark.any_framework
@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_the_names_were_checked_with_the_installed_version(package):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    oldest, newest = callers.CHECKED[package]
    assert oldest <= tuple(map(int, version(package).split(".")[:2])) <= newest
