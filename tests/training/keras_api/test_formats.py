"""The file and the version: whole, equal, and loaded back equal."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

import kept
from kept.errors import InvalidInput
from tests.training.helpers import (
    AtTheEnd,
    assert_same_state,
    change,
    content,
    fit,
    leftovers,
    make_model,
    play,
    state,
)

FORMATS = ["m.keras", "m.h5", "m.weights.h5"]


def checkpoint(filepath, **options):
    return kept.ModelCheckpoint(filepath, save_weights_only="weights" in filepath, **options)


@pytest.fixture(params=[True, False], ids=["background", "on the spot"])
def background(request):
    return request.param


@pytest.mark.parametrize("filepath", FORMATS)
class TestFile:
    def test_is_the_version_byte_for_byte(self, model, filepath, background):
        callback = checkpoint(f"new/folder/{filepath}", background=background)
        play([callback], [{}], model=model)
        stored = callback.versions[0].download("out") / filepath
        assert Path("new/folder", filepath).read_bytes() == stored.read_bytes()

    def test_nothing_else_is_left(self, model, filepath, background):
        callback = checkpoint(filepath, background=background)
        play([callback], [{}, {}], model=model)
        assert leftovers(".") == []
        assert sorted(path.name for path in Path().iterdir()) == ["kept-store", filepath]

    def test_replaces_the_one_before(self, model, filepath, background):
        Path(filepath).write_bytes(b"old")
        callback = checkpoint(filepath, background=background)
        play([callback], [{}], model=model)
        assert content(filepath) == content(callback.versions[0].download("out") / filepath)

    def test_is_what_keras_saves(self, data, own_model, filepath, background):
        model = own_model  # Keras's own save as .h5 spoils a model for later saves as .keras
        callback = checkpoint(filepath, background=background)
        fit(model, data, callback)
        if "weights" in filepath:
            model.save_weights(Path("live.weights.h5"))
            assert Path(filepath).read_bytes() == Path("live.weights.h5").read_bytes()
            return
        Path("live").mkdir()
        model.save(Path("live", filepath))
        assert content(filepath) == content(Path("live", filepath))


def test_saving_as_h5_does_not_spoil_a_later_keras_file(data, own_model):
    """Keras takes the optimizer out of the live model's config when it saves as .h5."""
    callbacks = [checkpoint("a.h5", name="a"), checkpoint("b.keras", name="b")]
    fit(own_model, data, *callbacks, epochs=2)
    loaded = callbacks[1].versions[-1].load_model()
    assert type(loaded.optimizer) is type(own_model.optimizer)
    assert_same_state(loaded, own_model)


class TestLoadingBack:
    def test_keras(self, data, model, background):
        callback = checkpoint("m.keras", background=background)
        fit(model, data, callback, epochs=2)
        loaded = callback.versions[-1].load_model()
        assert_same_state(loaded, model)
        assert len(state(loaded)) > len(model.weights)  # the optimizer's as well
        assert loaded.predict(data[0], verbose=0).tolist() == (
            model.predict(data[0], verbose=0).tolist()
        )

    def test_keras_is_trained_on(self, data, model):
        callback = checkpoint("m.keras")
        fit(model, data, callback)
        loaded = callback.versions[-1].load_model()
        fit(loaded, data)
        assert int(loaded.optimizer.iterations) == 8

    def test_h5(self, data, model, background):
        callback = checkpoint("m.h5", background=background)
        fit(model, data, callback)
        loaded = callback.versions[-1].load_model()
        assert [w.tolist() for w in loaded.get_weights()] == (
            [w.tolist() for w in model.get_weights()]
        )

    def test_weights(self, data, model, background):
        callback = checkpoint("m.weights.h5", background=background)
        fit(model, data, callback)
        other = make_model(seed=2)
        other.optimizer.build(other.trainable_variables)
        callback.versions[-1].load_weights(other)
        assert_same_state(other, model)

    def test_weights_are_no_model(self, model):
        callback = checkpoint("m.weights.h5")
        play([callback], [{}], model=model)
        with pytest.raises(InvalidInput, match="holds weights only"):
            callback.versions[0].load_model()

    def test_an_earlier_version(self, data, model):
        callback = checkpoint("m.keras")
        weights = []
        note = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: weights.append(note.model.get_weights())
        )
        fit(model, data, note, callback, AtTheEnd(lambda: change(model)), epochs=3)
        for version, expected in zip(callback.versions, weights, strict=True):
            found = version.load_model().get_weights()
            assert [w.tolist() for w in found] == [w.tolist() for w in expected]

    def test_every_version_verifies(self, data, model, store):
        fit(model, data, checkpoint("m.keras", store=store, save_freq=1), epochs=2)
        assert store.verify().ok
