"""A callback can be copied and pickled, as tuners and estimators do."""

import copy
import pickle

import cloudpickle
import keras
import pytest

import kept
from tests.training.helpers import fit, losses, play

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda callback: pickle.loads(pickle.dumps(callback)),
    "cloudpickle": lambda callback: cloudpickle.loads(cloudpickle.dumps(callback)),
}


class Noted(kept.ModelCheckpoint):
    """A subclass with a constructor of its own, as users write it."""

    def __init__(self, note):
        super().__init__("n-{epoch}.keras", name="noted")
        self.note = {"text": note}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_callback_after_a_fit(model, data, store, way):
    callback = kept.ModelCheckpoint(
        "m-{epoch}.keras", "loss", name="m", store=store, save_best_only=True, aliases=["own"]
    )
    fit(model, data, callback)
    callback.verbose, callback.filepath = 1, "late-{epoch}.keras"
    copied = WAYS[way](callback)
    assert copied.model is None
    assert copied.params is None
    assert (copied.verbose, copied.filepath) == (1, "late-{epoch}.keras")
    assert (copied.best, copied.name, copied.versions) == (callback.best, "m", [])
    assert copied.store.location == store.location
    copied.best = None
    play([copied], [{"loss": 0.1}], model=model)
    assert copied.versions[0].aliases[-1] == "own"
    assert len(callback.versions) == 1
    assert callback.best != copied.best
    assert callback.model is model


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_before_a_fit_of_a_subclass(model, way):
    copied = WAYS[way](Noted("hello"))
    copied.note["text"] += "!"
    play([copied], losses(0.5, 0.4), model=model)
    assert (len(copied.versions), copied.note) == (2, {"text": "hello!"})


def test_a_copy_that_holds_a_model_does_not_copy_it(model):
    callback = kept.ModelCheckpoint("m.keras", name="m")
    callback.set_model(model)
    callback.set_params({"epochs": 1})
    assert b"keras.src.models" not in pickle.dumps(callback)
    assert copy.deepcopy([callback])[0].model is None


def test_copies_side_by_side_have_threads_and_memory_of_their_own(model):
    first = kept.ModelCheckpoint("a-{epoch}.keras", name="m")
    second, third = copy.deepcopy(first), copy.copy(first)
    second.filepath = "b-{epoch}.keras"
    for callback in (first, second, third):
        play([callback], losses(0.5), model=model)
    savers = {id(one._controller.saver) for one in (first, second, third)}
    assert len(savers) == 3
    assert first.filepath == third.filepath == "a-{epoch}.keras"
    assert len(kept.open_store().versions("m")) == 3


@pytest.mark.any_framework
def test_two_copies_in_one_fit_without_a_name_get_two_artifacts(data, model):
    first = kept.ModelCheckpoint("a-{epoch}.keras")
    second = copy.deepcopy(first)
    second.filepath = "b-{epoch}.keras"
    fit(model, data, first, second)
    assert second.name == f"{first.name}_2"


@pytest.mark.any_framework
def test_a_store_in_memory_is_shared_by_copies_and_not_pickled(model):
    store = kept.open_store("memory:")
    callback = kept.ModelCheckpoint("m.keras", name="m", store=store)
    copied = copy.deepcopy(callback)
    play([copied], losses(0.5), model=model)
    assert len(store.versions("m")) == 1
    with pytest.raises(TypeError, match="store in memory cannot be pickled"):
        pickle.dumps(callback)


@pytest.mark.any_framework
def test_a_version_can_be_pickled(model, store):
    callback = kept.ModelCheckpoint("m.keras", name="m", store=store)
    play([callback], losses(0.5), model=model)
    copied = pickle.loads(pickle.dumps(store.version("m")))
    assert copied == callback.versions[0]
    assert not copied.verify().problems


@pytest.mark.any_framework
@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="wants tensorboard there")
def test_a_search_of_keras_tuner(data):
    keras_tuner = pytest.importorskip("keras_tuner")

    def build(hp):
        layers = [keras.Input((6,)), keras.layers.Dense(hp.Int("units", 1, 2))]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=False)
        return model

    callback = kept.ModelCheckpoint("t-{epoch}.keras", name="tuned")
    tuner = keras_tuner.GridSearch(build, objective="val_loss", max_trials=2, directory="kt")
    tuner.search(*data, epochs=1, validation_data=data, verbose=0, callbacks=[callback])
    assert {trial.status for trial in tuner.oracle.trials.values()} == {"COMPLETED"}
    assert len(kept.open_store().versions("tuned")) == 2


@pytest.mark.any_framework
def test_as_an_argument_of_a_scikit_learn_estimator(data):
    """scikeras keeps callbacks as arguments: clone deep-copies them, pickle takes them along."""
    base = pytest.importorskip("sklearn.base")

    class Estimator(base.BaseEstimator):
        def __init__(self, callbacks=None):
            self.callbacks = callbacks

        def fit(self, x, y):
            self.model_ = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
            self.model_.compile("sgd", "mse")
            self.model_.fit(x, y, verbose=0, callbacks=self.callbacks)
            return self

    callback = kept.ModelCheckpoint("s.keras", monitor="loss", name="s")
    estimator = Estimator([callback]).fit(*data)
    again = base.clone(estimator)
    assert again.callbacks[0] is not callback
    del estimator.model_
    cloudpickle.loads(cloudpickle.dumps(estimator)).fit(*data)
    again.fit(*data)
    assert len(kept.open_store().versions("s")) == 3
