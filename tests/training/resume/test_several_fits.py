"""A script that calls fit several times with one callback resumes in the fit that was killed."""

import keras
import numpy as np
import pytest

import kept


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Ends the script after a number of batches."""

    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise Killed


def net():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(3), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((4,)), *layers])


def fit(model, *callbacks, **options):
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    model.fit(x, x[:, :1], batch_size=8, verbose=0, callbacks=[*callbacks], **options)


def thawed(*callbacks):
    """Train the last layer, then all of them, with another optimizer."""
    model = net()
    model.layers[0].trainable = False
    model.compile("adam", "mse")
    fit(model, *callbacks, epochs=2)
    model.layers[0].trainable = True
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    fit(model, *callbacks, epochs=2)
    return model


def adapted(*callbacks):
    """Train all weights, then the small matrices of LoRA."""
    model = net()
    model.compile("adam", "mse")
    fit(model, *callbacks, epochs=2)
    model.layers[0].enable_lora(2)
    model.compile("adam", "mse")
    fit(model, *callbacks, epochs=2)
    return model


def again(*callbacks):
    """Train twice with one optimizer."""
    model = net()
    model.compile("adam", "mse")
    fit(model, *callbacks, epochs=2)
    fit(model, *callbacks, epochs=4, initial_epoch=2)
    return model


def checkpoint():
    return kept.ModelCheckpoint(
        "m.weights.h5",
        save_weights_only=True,
        monitor="loss",
        name="m",
        resume=True,
        save_freq=1,
    )


def values(model):
    variables = [*model.weights, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(one)) for one in variables]


@pytest.mark.parametrize(
    ("script", "batches"), [(thawed, 7), (adapted, 5), (again, 7), (again, 3)]
)  # of eight
def test_the_fit_that_was_killed_continues(script, batches, capsys):
    straight = script()
    with pytest.raises(Killed):
        script(checkpoint(), Kill(batches))
    capsys.readouterr()
    resumed = script(checkpoint())
    is_of_the_second = "nothing is left to train in this fit" in capsys.readouterr().out
    assert is_of_the_second == (batches > 4)
    for one, other in zip(values(resumed), values(straight), strict=True):
        np.testing.assert_array_equal(one, other)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = [keras.layers.Dense(3), keras.layers.Dropout(0.4), keras.layers.Dense(1)]

    def call(self, x, training=False):
        for part in self.parts:
            x = part(x)
        return x


def unbuilt(kind):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    model = keras.Sequential(layers) if kind == "sequential" else Subclassed()
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("kind", ["sequential", "subclassed"])
def test_a_model_that_the_fit_builds(kind):
    fit(straight := unbuilt(kind), epochs=3)
    with pytest.raises(Killed):
        fit(unbuilt(kind), checkpoint(), Kill(3), epochs=3)
    fit(resumed := unbuilt(kind), checkpoint(), epochs=3)
    for one, other in zip(values(resumed), values(straight), strict=True):
        np.testing.assert_array_equal(one, other)
