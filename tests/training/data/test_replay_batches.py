"""Batches are read again without training on them, except the last."""

from __future__ import annotations

import types

import keras
import pytest

from kept.errors import CannotResume
from kept.training.data.replay_batches import BatchReplay, read

IS_JAX = keras.backend.backend() == "jax"
IS_TORCH = keras.backend.backend() == "torch"


class Model:
    """What a replay uses of a model."""

    def __init__(self, steps_per_execution=1):
        self.steps_per_execution = steps_per_execution
        self.history = types.SimpleNamespace(params={})
        self.trained = []
        self.real = self.train_function = self.train

    def train(self, *args):
        batches = args[-1]
        self.trained.append(batches[0] if isinstance(batches, list) else next(batches))
        return ({"loss": 0.5}, "state after") if IS_JAX else {"loss": 0.5}


def step(model, data):
    """Call train_function as this framework does; return the logs and, on JAX, the state."""
    found = model.train_function("state", data) if IS_JAX else model.train_function(data)
    return found if IS_JAX else (found, None)


def batches_of(number):
    """The arguments of as many steps: the same iterator, or a list of batches on torch."""
    iterator = iter(range(number))
    return [[n] for n in range(number)] if IS_TORCH else [iterator] * number


def replay(model, batches):
    model.train_function = BatchReplay(model, batches, {"loss": 0.25})


def test_only_the_last_one_is_trained_on_and_gets_the_logs_of_the_saved_run():
    model = Model()
    replay(model, 3)
    found = [step(model, data) for data in batches_of(3)]
    assert [logs for logs, _ in found] == [{}, {}, {"loss": 0.25}]
    assert model.trained == [2]
    if IS_JAX:
        assert [state for _, state in found] == ["state", "state", "state after"]


def test_then_training_continues():
    model = Model()
    replay(model, 2)
    found = [step(model, data)[0] for data in batches_of(3)]
    assert model.train_function is model.real
    assert found[-1] == {"loss": 0.5}
    assert model.trained == [1, 2]


@pytest.mark.any_framework
def test_an_execution_of_several_steps_counts_them():
    model = Model(steps_per_execution=2)
    replay(model, 4)
    iterator = iter(range(6))
    step(model, iterator)
    assert model.trained == []
    step(model, iterator)
    assert model.trained == [2]
    assert model.train_function is model.real


def test_too_little_data_is_an_error_and_ends_the_replay():
    model = Model()
    replay(model, 3)
    with pytest.raises(CannotResume, match="fewer batches"):
        step(model, iter(()))
    assert model.train_function is model.real


def test_the_next_fit_is_not_replayed():
    model = Model()
    replay(model, 3)
    model.history.params = {}  # as each fit has its own
    assert step(model, batches_of(1)[0])[0] == {"loss": 0.5}
    assert model.trained == [0]
    assert model.train_function is model.real


@pytest.mark.any_framework
class TestRead:
    def test_it_takes_a_number_of_batches(self):
        iterator = iter(range(5))
        read(iterator, 3)
        assert next(iterator) == 3

    def test_fewer_at_the_end_are_enough(self):
        read(iter(range(2)), 3)

    def test_none_is_an_error(self):
        with pytest.raises(CannotResume, match="fewer batches"):
            read(iter(()), 3)
