"""The states of all random generators come back, and drawing continues as before."""

from __future__ import annotations

import random
import sys

import keras
import numpy as np
import pytest

from kept.training.resume import rng

HERE = keras.backend.backend()


def draw():
    """Random numbers from every generator that training draws from."""
    found = {
        "python": [random.random()],
        "numpy": np.random.random(3),
        "keras": keras.ops.convert_to_numpy(keras.random.uniform((3,))),
    }
    if "torch" in sys.modules:
        import torch

        found["torch"] = torch.rand(3).numpy()
    if HERE == "tensorflow":
        import tensorflow as tf

        found["eager"] = tf.random.uniform((3,)).numpy()
        found["generator"] = tf.random.get_global_generator().uniform((3,)).numpy()
    return found


def test_drawing_continues_as_before():
    import torch  # its DataLoader draws from it on every framework

    keras.utils.set_random_seed(7)
    torch.manual_seed(7)
    draw()
    state = rng.capture()
    before = draw()
    between = draw()
    rng.restore(state)
    after = draw()
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name], err_msg=name)
        assert not np.array_equal(values, between[name]), name


def test_a_captured_state_does_not_change():
    keras.utils.set_random_seed(7)
    draw()
    state = rng.capture()
    position = state["numpy"][2]
    words = state["python"][1].copy()
    keras_seed = state["keras"].copy()
    draw()
    assert state["numpy"][2] == position
    np.testing.assert_array_equal(state["python"][1], words)
    np.testing.assert_array_equal(state["keras"], keras_seed)


def test_keras_has_no_seed_before_it_draws_without_one():
    keras.utils.clear_session()
    state = rng.capture()
    assert state["keras"] is None
    keras.random.uniform((2,))
    assert rng.capture()["keras"] is not None
    rng.restore(state)
    assert rng.capture()["keras"] is None


def test_the_generators_of_another_framework_are_left():
    state = rng.capture()
    state |= {"framework_name": "another", "framework": None, "torch": None, "keras": "not used"}
    rng.restore(state)


@pytest.mark.skipif(HERE != "tensorflow", reason="only TensorFlow has a global seed")
class TestSeedOfTensorFlow:
    def test_it_is_restored(self):
        keras.utils.set_random_seed(11)
        state = rng.capture()["framework"]
        keras.utils.set_random_seed(12)
        rng.restore_seed(state)
        assert rng.capture()["framework"]["seed"] == 11
        assert rng.is_seeded()

    def test_without_one_nothing_is_set(self):
        keras.utils.set_random_seed(11)
        rng.restore_seed({"seed": rng._NO_SEED})
        assert rng.capture()["framework"]["seed"] == 11


@pytest.mark.skipif(HERE == "tensorflow", reason="TensorFlow has a global seed")
def test_elsewhere_no_seed_is_needed():
    assert rng.is_seeded()
