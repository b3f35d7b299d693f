"""Many shapes of training: each version is the model of its moment, and resumes to its bits."""

import keras
import numpy as np
import pytest

import kept
from tests.training.shapes import custom, generative, usual
from tests.training.shapes.base import BATCH, FRAMEWORK

SHAPES = {**generative.SHAPES, **custom.SHAPES, **usual.SHAPES}
EPOCHS, EVERY = 3, 3  # of four batches; a save after each third batch
FROM = 1  # the version that is resumed


def optimizers_in(value, depth=3):
    """Yield the optimizers in a model's attributes, and in models and containers there."""
    if isinstance(value, keras.optimizers.Optimizer):
        yield value
        yield from optimizers_in(getattr(value, "inner_optimizer", None))
    elif depth:
        if isinstance(value, keras.Model):
            inner = [*vars(value).values()]
        else:
            inner = value.values() if isinstance(value, dict) else value
            inner = [*inner] if isinstance(value, (dict, list, tuple)) else []
        for one in inner:
            yield from optimizers_in(one, depth - 1)


def values(model, *, metrics=False):
    """Return every variable of a model and of its optimizers."""
    slots = [variable for optimizer in optimizers_in(model) for variable in optimizer.variables]
    skipped = {id(variable) for variable in model.metrics_variables}
    found = [v for v in model.variables if metrics or id(v) not in skipped]
    return [np.array(keras.ops.convert_to_numpy(one)) for one in (*found, *slots)]


def assert_same(now, before):
    for number, (one, other) in enumerate(zip(now, before, strict=True)):
        np.testing.assert_array_equal(one, other, err_msg=f"variable {number}")


class Recorder(keras.callbacks.Callback):
    """Copies the model at the moments of the saves."""

    def __init__(self):
        super().__init__()
        self.batches, self.moments = 0, []

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches % EVERY == 0:
            self.moments.append(values(self.model))


def named():
    """Return the shapes that this framework trains; all of them take minutes."""
    return [
        pytest.param(name, marks=[pytest.mark.integration] if is_slow(name) else [])
        for name, shape in SHAPES.items()
        if FRAMEWORK in shape.frameworks
    ]


def is_slow(name):
    """Return whether a shape is left to make test-integration, on this framework."""
    return SHAPES[name].is_rare or (FRAMEWORK != "jax" and name not in generative.SHAPES)


def new_model(shape):
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    return shape.make()


def train(shape, **options):
    """Train from the beginning or from a version; return the model, the history and the moments."""
    model, recorder = new_model(shape), Recorder()
    saver = kept.ModelCheckpoint(
        f"m{shape.ending}",
        save_weights_only=shape.ending == ".weights.h5",
        monitor="loss",
        save_freq=EVERY,
        **options,
    )
    callbacks = [*shape.callbacks(), saver, recorder]
    x, *y = shape.data()
    arguments = {"batch_size": BATCH, "epochs": EPOCHS, "verbose": 0, **shape.fit}
    history = model.fit(x, *y, callbacks=callbacks, **arguments)
    return model, history, recorder.moments


@pytest.mark.parametrize("name", named())
def test_versions_are_of_their_moment_and_resume_to_the_same_bits(name, capsys):
    shape = SHAPES[name]
    straight, history, moments = train(shape, name="m")
    versions = kept.open_store().versions("m")
    assert len(versions) == len(moments) == EPOCHS * 4 // EVERY
    fresh = new_model(shape)
    for version, moment in zip(versions, moments, strict=True):
        kept.resume(fresh, version.reference)
        assert_same(values(fresh), moment)
    assert (shape.differs or "") in capsys.readouterr().out
    resumed, again, _ = train(shape, name="other", resume=f"m:v{FROM}")
    if shape.differs is not None:
        assert shape.differs in capsys.readouterr().out
        return
    assert_same(values(resumed, metrics=True), values(straight, metrics=True))
    assert again.history == history.history
