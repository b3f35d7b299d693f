"""Trainings with a break, to resume with another framework: python resume_elsewhere.py FOLDER

FOLDER/store gets the artifacts end (saved after an epoch), data and array (in the middle of one);
FOLDER/<artifact>.npz the weights and the optimizer's variables of that moment, and straight.npz
those of the training of data without a break.
"""

import sys
from pathlib import Path

import keras
import numpy as np

import kept
from tests.training.helpers import Stop, Stopped, state
from tests.training.resume.test_resume import make, rows

BREAK = 7  # batches, of 5 in an epoch


def plain_model():
    """A model without randomness, which every framework trains alike, except for rounding."""
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def data():
    return kept.Dataset(*rows(), batch_size=8, seed=5)


def fit_data(model, *callbacks):
    return model.fit(data(), shuffle=False, epochs=3, callbacks=[*callbacks], verbose=0)


def fit_arrays(model, *callbacks, epochs=3):
    x, y = rows()
    return model.fit(x, y, batch_size=8, epochs=epochs, callbacks=[*callbacks], verbose=0)


def main(folder):
    def checkpoint(name, save_freq):
        path = folder / f"{name}.weights.h5"
        return kept.ModelCheckpoint(
            path, "loss", save_weights_only=True, save_freq=save_freq,
            store=folder / "store", name=name,
        )  # fmt: skip

    fit_arrays(model := make(), checkpoint("end", "epoch"), epochs=1)
    np.savez(folder / "end.npz", *state(model))
    for name, fit, model in [("data", fit_data, plain_model()), ("array", fit_arrays, make())]:
        begun = state(model)[: len(model.weights)]
        try:
            fit(model, own := checkpoint(name, BREAK), Stop(BREAK))
        except Stopped:
            own.close()
        own.versions[0].load_weights(model)
        np.savez(folder / f"{name}.npz", *state(model))
        if name == "data":
            straight = plain_model()
            straight.set_weights(begun)
            fit_data(straight, checkpoint("straight", "epoch"))
            np.savez(folder / "straight.npz", *state(straight))
    print(keras.backend.backend())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
