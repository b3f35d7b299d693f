"""Which callbacks have a state, and that it comes back as it was."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kept.training.resume import callback_state

pytestmark = pytest.mark.any_framework
EarlyStopping, History = keras.callbacks.EarlyStopping, keras.callbacks.History


class Own:
    """A callback with a state of its own."""

    def __init__(self, seen=()):
        self.seen = list(seen)

    def get_state(self):
        return {"seen": self.seen}

    def set_state(self, state):
        self.seen = state["seen"]


class OfKept(keras.callbacks.ModelCheckpoint):
    """As kept's ModelCheckpoint: the name of Keras's, and another state."""

    def __init__(self):
        super().__init__("m.keras")

    def get_state(self):
        return {"since_save": 0}

    def set_state(self, state):
        pass


def test_callbacks_with_a_state():
    with_state = [Own(), EarlyStopping(), History(), keras.callbacks.CSVLogger("a.csv"), OfKept()]
    assert all(callback_state.has_state(one) for one in with_state)
    without = [keras.callbacks.Callback(), keras.callbacks.TerminateOnNaN(), object()]
    assert not any(callback_state.has_state(one) for one in without)


@pytest.mark.parametrize("missing", ["get_state", "set_state"])
def test_a_state_needs_both_methods(missing):
    one = Own()
    setattr(one, missing, None)
    assert not callback_state.has_state(one)


def test_a_state_of_its_own_is_a_copy_both_ways():
    one, other = Own([1]), Own()
    state = callback_state.get_state(one)
    one.seen.append(2)
    callback_state.set_state(other, state)
    other.seen.append(3)
    assert state == {"seen": [1]}
    assert other.seen == [1, 3]


def test_the_attributes_of_keras_s_callbacks():
    one, other = EarlyStopping(), EarlyStopping()
    one.wait, one.best, one.best_weights = 2, 0.5, [np.ones(3)]
    state = callback_state.get_state(one)
    assert state["wait"] == 2
    callback_state.set_state(other, state)
    assert (other.wait, other.best) == (2, 0.5)
    assert other.best_weights is not one.best_weights
    assert other.best_weights[0] is one.best_weights[0], "arrays are not copied"


def test_the_history_is_a_copy():
    one, other = History(), History()
    one.history, one.epoch = {"loss": [1.0]}, [0]
    state = callback_state.get_state(one)
    one.history["loss"].append(0.5)
    callback_state.set_state(other, state)
    assert other.history == {"loss": [1.0]}
    other.history["loss"].append(0.7)
    assert state["history"] == {"loss": [1.0]}


def test_an_attribute_that_one_version_lacks_is_left():
    one = EarlyStopping()
    one.wait = 4
    callback_state.set_state(one, {"best": 1.0})
    assert (one.wait, one.best) == (4, 1.0)


def test_names_are_classes_and_numbers():
    first, second, third = Own(), Own(), Own()
    history = History()
    names = callback_state.named([first, history, second, third])
    assert names == {"Own": first, "History": history, "Own 2": second, "Own 3": third}


def test_states_of_both_checkpoint_callbacks_are_distinguished():
    keras_s, kept_s = keras.callbacks.ModelCheckpoint("m.keras"), OfKept()
    for one in (keras_s, kept_s):
        for state_of in (keras_s, kept_s):
            belongs = callback_state.belongs(one, callback_state.get_state(state_of))
            assert belongs is (one is state_of)
    assert callback_state.belongs(EarlyStopping(), {"since_save": 0})


@pytest.mark.parametrize(
    ("name", "only_saves"),
    [
        ("ModelCheckpoint", True),
        ("WandbModelCheckpoint 2", True),
        ("EarlyStopping", False),
        ("ModelCheckpointer", False),
    ],
)
def test_names_of_callbacks_that_only_save(name, only_saves):
    assert callback_state.only_saves(name) is only_saves


class TestCsv:
    def logger(self, path, epochs):
        one = keras.callbacks.CSVLogger(str(path))
        one.set_model(keras.Sequential())
        one.on_train_begin()
        for epoch in range(epochs):
            one.on_epoch_end(epoch, {"loss": epoch / 2, "val_loss": 1.0})
        return one

    def test_the_file_is_restored_and_continues(self, tmp_path):
        one = self.logger(tmp_path / "a.csv", 1)
        state = callback_state.get_state(one)
        one.on_train_end()
        assert state["keys"] == ["loss", "val_loss"]
        other = self.logger(tmp_path / "b.csv", 0)
        callback_state.set_state(other, state)
        other.on_epoch_end(1, {"loss": 0.5, "val_loss": 2.0})
        other.on_train_end()
        lines = (tmp_path / "b.csv").read_text().split()
        assert lines == ["epoch,loss,val_loss", "0,0.0,1.0", "1,0.5,2.0"]

    def test_later_rows_are_dropped(self, tmp_path):
        one = self.logger(tmp_path / "a.csv", 1)
        state = callback_state.get_state(one)
        one.on_epoch_end(1, {"loss": 0.5})
        callback_state.set_state(one, state)
        one.on_train_end()
        assert (tmp_path / "a.csv").read_text().split() == ["epoch,loss,val_loss", "0,0.0,1.0"]

    def test_without_a_file_nothing_is_restored(self, tmp_path):
        one = self.logger(tmp_path / "a.csv", 1)
        one.on_train_end()
        (tmp_path / "a.csv").unlink()
        state = callback_state.get_state(one)
        assert state["text"] is None
        callback_state.set_state(one, state)
        assert not (tmp_path / "a.csv").exists()
