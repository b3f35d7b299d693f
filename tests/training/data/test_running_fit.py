"""What a fit says of its data, and what is said without one."""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest

from kept.training.data.running_fit import Fit, running_fit, when_over
from tests.training.data.fake_fit import Epochs, fit_of

pytestmark = pytest.mark.any_framework


def test_an_unknown_fit_has_no_data():
    fit = Fit()
    assert fit.callbacks == ()
    assert fit.adapter is None
    assert fit.kind == "NoneType"
    assert fit.steps_per_epoch is None
    assert fit.batches is None
    assert running_fit() == fit


def test_the_data_of_a_known_one():
    fit = fit_of("ArrayDataAdapter", epochs={"steps_per_epoch": 3, "num_batches": 5})
    assert fit.kind == "ArrayDataAdapter"
    assert (fit.steps_per_epoch, fit.batches) == (3, 5)


def test_an_iterator_without_an_adapter_is_of_an_unknown_kind():
    assert Fit((), Epochs()).kind == "NoneType"


def test_a_callback_sees_its_fit():
    class Looking(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            found = self.found = running_fit()
            self.seen = (found.kind, found.steps_per_epoch, found.adapter.num_batches)
            when_over(lambda: self.calls.append("over"))

    looking = Looking()
    looking.calls = []
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((6, 1), "float32")
    model.fit(x, x, batch_size=2, verbose=0, steps_per_epoch=2, callbacks=[looking])
    assert looking.seen == ("ArrayDataAdapter", 2, 3)
    gc.collect()
    assert looking.calls == ["over"]
    assert next(iter(looking.found.callbacks)) is looking
    with pytest.raises(ReferenceError):
        _ = looking.found.adapter
