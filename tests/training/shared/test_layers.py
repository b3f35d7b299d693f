"""Kinds of layers, weights and optimizers whose bytes several ranks store, as one process would."""

import keras
import numpy as np
import pytest

from kept.bucket.memory import MemoryBucket
from kept.errors import InvalidCheckpoint
from kept.store.store import Store
from kept.training.keras_api.save_file import write_snapshot
from kept.training.snapshot.file_layout import IN_MEMORY, Structure
from kept.training.snapshot.snapshot import Snapshot
from kept.training.snapshot.variables import variables_of
from tests.training.shared.ranks import Ranks, snapshots

pytestmark = [
    pytest.mark.usefixtures("frozen_clock"),
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX shards across processes"),
]


@pytest.fixture
def policy():
    """Sets the global policy of types."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


class Table(keras.layers.Layer):
    """A layer with a value that is a piece."""

    def build(self, _):
        self.table = self.add_weight(shape=(300, 300), initializer="random_normal")

    def call(self, inputs):
        return inputs


class Small(keras.layers.Layer):
    """A layer with a value of one byte for each element."""

    def build(self, _):
        self.table = self.add_weight(
            shape=(300, 300), initializer="ones", dtype="float8_e4m3fn", trainable=False
        )

    def call(self, inputs):
        return inputs


class Tied(keras.layers.Layer):
    """A layer with the value of another one."""

    def __init__(self, other):
        super().__init__()
        self.table = other.table

    def call(self, inputs):
        return inputs

    def get_config(self):
        return {}


class Zeros(Table):
    """A layer that saves its value, and as many zeros."""

    def save_own_variables(self, store):
        store["0"] = self.table
        store["1"] = np.zeros((300, 300), np.float32)


class Computed(Table):
    """A layer that saves its value, and another one computed from it."""

    def save_own_variables(self, store):
        store["0"] = self.table
        store["1"] = np.asarray(self.table.value) * 2


def sequential(*layers):
    return keras.Sequential([keras.Input((1,)), *layers])


def with_optimizer(*layers):
    """Return a model whose optimizer has random values, as after some steps."""
    found = keras.Sequential([keras.Input((300,)), *layers])
    found.compile("adam", "mse")
    found.optimizer.build(found.trainable_variables)
    random = np.random.default_rng(0)
    for variable in found.optimizer.variables:
        if "float" in variable.dtype:
            variable.assign(random.standard_normal(variable.shape))
    return found


def check_each_byte(of, folder, size=2):
    """Compare the file of several ranks with that of one process, also from a recorded layout."""
    snapshot = Snapshot("jax")
    snapshot.take(variables_of(of))
    expected = write_snapshot(of, snapshot, "m.keras", weights_only=False).file
    structure = Structure(is_sure=True)
    for name in ("new", "filled"):
        store = Store(MemoryBucket())
        held = snapshots(of, size, structure)
        version = Ranks(size, store.bucket).save(store, of, held)
        version.download(folder / name)
        assert (folder / name / "m.keras").read_bytes() == b"".join(expected.parts)
        assert store.verify().ok
    return structure


def test_a_loss_scale_optimizer_saves_its_variables_twice(policy, tmp_path):
    policy("mixed_float16")
    of = with_optimizer(keras.layers.Dense(300), keras.layers.Dense(300))
    assert type(of.optimizer).__name__ == "LossScaleOptimizer"
    check_each_byte(of, tmp_path)


def test_layers_with_the_same_weight(tmp_path):
    tables = Table(), Table()
    for one in tables:
        one.build(None)
    check_each_byte(sequential(*tables, *map(Tied, tables)), tmp_path)


def test_a_second_piece_does_not_hide_that_another_one_is_missing():
    of = sequential(Table(), Table(), Table())
    held, ranks = snapshots(of, 3), Ranks(3, MemoryBucket())
    shared = ranks.begin(held)
    known, (one, _) = shared.ranges(held[0]), held[0].foreign()
    with pytest.raises(InvalidCheckpoint, match="would hold 1 of 2 pieces"):
        known.file("m.keras", [one[0], one[0]])
    ranks.end(shared, "", ValueError("incomplete"))


@pytest.mark.parametrize("size", [2, 3])
def test_weights_that_numpy_lacks(policy, tmp_path, size):
    policy("bfloat16")
    of = with_optimizer(keras.layers.Dense(300), keras.layers.Dense(256, use_bias=False))
    assert IN_MEMORY in check_each_byte(of, tmp_path, size).layouts


def test_float8_weights(tmp_path):
    of = sequential(Small(), Small())
    check_each_byte(of, tmp_path)


def test_zeros_are_not_taken_for_a_weight_of_another_process(tmp_path):
    check_each_byte(sequential(Zeros(), Zeros()), tmp_path)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_a_layer_that_saves_a_computed_value_is_refused(kind):
    of, store = sequential(Computed(dtype=kind), Computed(dtype=kind)), Store(MemoryBucket())
    with pytest.raises(InvalidCheckpoint, match="its values are needed"):
        Ranks(2, store.bucket).save(store, of, snapshots(of, 2))
