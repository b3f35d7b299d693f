"""After a fit, however it ended, the callback holds nothing of it: no model, data or process."""

import contextlib
import gc
import inspect
import multiprocessing
import threading
import weakref

import keras
import numpy as np
import pytest

import kept
from kept.training.keras_api.callers import find_fit
from tests.training.helpers import begin

ROWS = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")


# TensorFlow itself, without any callback, keeps a DataLoader and its workers after a fit.
HOLDS_DATA = keras.backend.backend() == "tensorflow"
ERRORS = {"callback": RuntimeError, "Ctrl-C": KeyboardInterrupt, "data": ValueError}


class Data:
    """Rows of which one may be broken."""

    def __init__(self, broken=None):
        self.broken = broken

    def __len__(self):
        return len(ROWS)

    def __getitem__(self, index):
        if index == self.broken:
            raise ValueError("a broken row")
        return ROWS[index], ROWS[index, :1]


class Ends(keras.callbacks.Callback):
    """Ends a fit in the last batch of the second epoch."""

    def __init__(self, error):
        super().__init__()
        self.error, self.epoch = error, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            raise self.error


def checkpoint(**options):
    options = {"save_freq": 1, "monitor": "loss"} | options
    return kept.ModelCheckpoint("m.keras", name="m", **options)


def new_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def loader(broken=None):
    """Batches of a process that stays between epochs."""
    import torch

    return torch.utils.data.DataLoader(
        Data(broken), batch_size=8, num_workers=1, persistent_workers=True
    )


def train(callback, how, make=loader):
    """Train in a function of its own; return references to what belongs to the fit."""
    model, data = new_model(), make(12 if how == "data" else None)
    more = [Ends(ERRORS[how])] if how in ERRORS else []
    with pytest.raises(ERRORS[how]) if how in ERRORS else contextlib.nullcontext():
        model.fit(data, epochs=2, callbacks=[callback, *more], verbose=0)
    parts = (model, model.optimizer, model.layers[0].kernel, *([] if HOLDS_DATA else [data]))
    return [weakref.ref(one) for one in parts]


def assert_free(references):
    gc.collect()
    gc.collect()  # the first one may end the fit, which then frees what it had
    for reference in references:
        assert reference() is None, gc.get_referrers(reference())


RARE = pytest.param("Ctrl-C", marks=pytest.mark.any_framework)


@pytest.mark.parametrize("how", ["normal", "callback", "data", RARE])
def test_after_a_fit(how):
    threads, children = threading.active_count(), multiprocessing.active_children()
    held = checkpoint(), checkpoint(resume=True)  # the second one continues the fit of the first
    for callback in held:
        references = train(callback, how)
        callback.wait()
        assert_free(references)
        assert callback.model is None
    assert HOLDS_DATA or multiprocessing.active_children() == children
    assert HOLDS_DATA or threading.active_count() <= threads
    assert not [one for one in threading.enumerate() if one.name.startswith("kept")]
    assert held[0].versions or how == "data"


def test_after_a_fit_that_ended_while_it_replayed():
    train(checkpoint(save_freq=2), "normal")
    callback = checkpoint(resume="m:v1")
    assert_free(train(callback, "callback"))


def test_after_kept_resume():
    train(checkpoint(), "callback")
    model = new_model()
    callback = kept.resume(model, "m:v0")
    model.fit(ROWS, ROWS[:, :1], batch_size=8, epochs=2, callbacks=[callback], verbose=0)
    reference = weakref.ref(model)
    del model
    assert_free([reference])
    assert callback.parent


def test_a_loop_of_the_user_s_own_frees_the_model_by_close():
    model, callback = new_model(), checkpoint()
    begin(callback, model)
    callback.on_epoch_end(0, {"loss": 1.0})
    callback.close()
    reference = weakref.ref(model)
    del model
    assert_free([reference])
    assert len(callback.versions) > 0


@pytest.mark.any_framework
def test_the_model_is_there_as_long_as_the_user_has_it():
    model, callback = new_model(), checkpoint()
    callback.set_model(model)
    assert callback.model is model
    model.fit(ROWS, ROWS[:, :1], epochs=1, callbacks=[callback], verbose=0)
    assert callback.model is model


@pytest.mark.any_framework
def test_a_frame_of_the_user_keeps_nothing_because_kept_has_looked_at_it():
    big = Data()
    reference = weakref.ref(big)
    assert find_fit() == ((), None)
    assert inspect.currentframe().f_code.co_varnames[0] == "big"
    del big
    assert reference() is None
