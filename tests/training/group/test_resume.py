"""All ranks begin a resumed fit, or none trains; each rank is a thread here."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import kept
from kept.errors import CannotResume
from kept.training.keras_api import private_fit
from kept.training.resume import load_version
from tests.training.group.test_base import on_all
from tests.training.group.threads import groups

DATA = np.ones((24, 4), "float32")


class State(keras.callbacks.Callback):
    """Has a state, counts batches, and on one rank cannot take its state."""

    def __init__(self, error=None):
        super().__init__()
        self.error, self.batches = error, 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def get_state(self):
        return {}

    def set_state(self, state):
        if self.error is not None:
            raise self.error


def compiled():
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    made.compile("sgd", "mse")
    return made


def fit(epochs, callbacks, made=None):
    """Return the error that ended a fit."""
    try:
        (made or compiled()).fit(
            DATA, DATA[:, :3], batch_size=8, epochs=epochs, verbose=0, callbacks=callbacks
        )
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error
    return None


@pytest.fixture
def train(tmp_path):
    """Train as the ranks of a new run; rank 1 may be unable to restore its state."""

    def train(epochs, error=None):
        def work(group):
            state = State(error if group.rank else None)
            options = {"monitor": "loss", "store": tmp_path / "store", "name": "m", "resume": True}
            checkpoint = kept.ModelCheckpoint(
                str(tmp_path / f"{group.rank}.keras"), group=group, **options
            )
            return fit(epochs, [state, checkpoint]), state.batches

        return on_all(groups(2, seconds=30.0), work)

    assert train(2) == [(None, 6)] * 2
    return train


def test_a_callback_of_one_rank_that_cannot_take_its_state(train):
    for error, batches in train(4, ValueError("no state today")):
        assert isinstance(error, CannotResume)
        assert "1 of 2 processes could not begin the resumed fit. rank 1: ValueError: no" in str(
            error
        )
        assert batches == 0


@pytest.mark.parametrize("owner", [(load_version, "put"), (private_fit, "drop_read_ahead")])
def test_anything_else_that_fails_on_one_rank(train, monkeypatch, owner):
    module, name = owner
    real = getattr(module, name)
    ranks = iter([True])  # the first one to come

    def fails(*given):
        if next(ranks, False):
            raise OSError("gone")
        return real(*given)

    monkeypatch.setattr(module, name, fails)
    for error, batches in train(4):
        assert isinstance(error, CannotResume)
        assert "OSError: gone" in str(error)
        assert batches == 0


def test_without_an_error_all_continue(train):
    assert train(4) == [(None, 6)] * 2


def test_kept_resume_on_all_ranks(train, tmp_path):
    found = groups(2, seconds=30.0)

    def work(group, store):
        made, state = compiled(), State(ValueError("no state today") if group.rank else None)
        try:
            callback = kept.resume(made, "m", store=store, callbacks=[state], group=group)
        except CannotResume as error:
            return error, 0
        return fit(4, [state, callback], made), state.batches

    stores = [tmp_path / "store", 7]
    for error, _ in on_all(found, lambda group: work(group, stores[group.rank])):
        assert "rank 1" in str(error)
        assert "could not open the store" in str(error)
    results = on_all(found, lambda group: work(group, stores[0]))  # and they stay in step
    assert all("could not begin the resumed fit" in str(error) for error, _ in results)
    assert [batches for _, batches in results] == [0, 0]
