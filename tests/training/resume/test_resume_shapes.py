"""Fits that failed and are called again, and models of other shapes, resume to the same bits."""

import keras
import numpy as np
import pytest

import kept
from kept.training.keras_api import private_fit
from kept.training.snapshot.variables import untracked


class Fails(keras.callbacks.Callback):
    """Ends a fit with an error."""

    def __init__(self, epoch, error=RuntimeError):
        super().__init__()
        self._epoch, self._error = epoch, error

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self._epoch:
            raise self._error


def rows():
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    return x, x[:, :1].copy()


def small(optimizer="sgd"):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


def checkpoint(name="m", *, resume=True):
    return kept.ModelCheckpoint(
        f"{name}.weights.h5", save_weights_only=True, name=name, resume=resume, monitor="loss"
    )


def fit(model, *callbacks):
    x, y = rows()
    model.fit(x, y, batch_size=8, epochs=4, verbose=0, shuffle=False, callbacks=[*callbacks])


def values(model):
    variables = [*model.weights, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assert_same(model, other):
    for one, two in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["same", "new"])
def test_a_fit_that_failed_is_called_again_in_the_process(kind, error):
    straight, model, first = small(), small(), checkpoint()
    fit(straight)
    with pytest.raises(error):
        fit(model, first, Fails(1, error))
    fit(model, first if kind == "same" else checkpoint())
    assert_same(model, straight)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_version_that_is_named_is_resumed_again_after_a_failure(error, capsys):
    straight = small()
    fit(straight, checkpoint())
    model, branch = small(), checkpoint("branch", resume="m:v1")
    with pytest.raises(error):
        fit(model, branch, Fails(3, error))
    fit(model, branch)
    assert capsys.readouterr().out.count("continuing from m:v1 with epoch 3") == 2
    assert_same(model, straight)
    assert [one.metadata["epoch"] for one in branch.versions] == [2, 3, 2, 3]
    fit(model, branch)  # it has ended, so the next fit continues the model
    assert int(model.optimizer.iterations) == 16


def test_averages_of_the_optimizer_are_put_where_they_were():
    def train(*callbacks):
        model = small(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
        fit(model, keras.callbacks.SwapEMAWeights(swap_on_epoch=True), *callbacks)
        return model

    straight = train()
    with pytest.raises(RuntimeError):
        train(checkpoint(), Fails(2))
    assert_same(train(checkpoint()), straight)


def test_an_optimizer_is_built_with_the_weights_that_it_trained():
    def make():
        model = small("adam")
        model.optimizer.build(model.trainable_variables[:1])
        model.optimizer.iterations.assign(7)
        return model

    saver = kept.ModelCheckpoint("m.weights.h5", save_weights_only=True, name="m", monitor="loss")
    saved = make()
    saver.set_model(saved)
    saver.on_epoch_end(0, {"loss": 1.0})
    saver.close()
    resumed = small("adam")
    kept.resume(resumed, "m")
    assert_same(resumed, saved)


def test_the_states_of_a_layer_are_found():
    keras.utils.set_random_seed(1)
    rnn = keras.layers.LSTM(2, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(2, 3, 1)), rnn])
    assert [id(one) for one in untracked(model)] == [id(one) for one in rnn.states]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow hides this state")
def test_noise_whose_state_is_hidden_is_found(capsys):
    import tensorflow as tf

    class Noise(keras.layers.Layer):
        def call(self, x):
            return x + tf.random.normal(tf.shape(x))

    model = keras.Sequential([keras.Input((4,)), Noise(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = rows()
    model.fit(x, y, verbose=0, callbacks=[own := checkpoint()])
    assert private_fit.hidden_random_operations(model) == ["RandomStandardNormal"]
    assert "so a resumed run differs" in capsys.readouterr().out
    own.close()
    model.fit(x, y, epochs=2, verbose=0, callbacks=[checkpoint()])
    assert "tf.random (RandomStandardNormal): this run draws other ones" in capsys.readouterr().out
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    assert private_fit.hidden_random_operations(model) == []
