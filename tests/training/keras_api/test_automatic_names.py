"""kept leaves the automatic names of Keras as they would be without it: they are in files."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import kept


def names():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[keras.metrics.MeanAbsoluteError()])
    return model, (model.name, model.layers[0].name, model.optimizer.name, model.metrics[0].name)


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"save_best_only": True}])
def test_a_model_that_is_made_after_a_fit_has_its_usual_name(options):
    keras.utils.clear_session()
    model, _ = names()
    usual = names()[1]
    keras.utils.clear_session()
    model, _ = names()
    callback = kept.ModelCheckpoint("m.keras", monitor="loss", name="m", **options)
    model.fit(np.zeros((4, 2)), np.zeros((4, 1)), verbose=0, callbacks=[callback])
    assert names()[1] == usual
