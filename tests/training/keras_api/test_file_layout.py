"""A file that kept fills with the values of a later moment is Keras's own, byte by byte."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from kept.store.content.chunking import MappedFile, cut
from kept.store.content.file_source import MemoryFile
from kept.training.keras_api.save_file import write_snapshot
from kept.training.save.python_part import PythonParts
from kept.training.snapshot.file_layout import IN_MEMORY, ON_DISK, Place, Structure
from kept.training.snapshot.snapshot import Snapshot
from kept.training.snapshot.variables import variables_of
from tests.training.helpers import template

pytestmark = [pytest.mark.any_framework, pytest.mark.usefixtures("frozen_clock")]


class Saves:
    """Saves a model as the callback does, and compares each file with that of Keras."""

    def __init__(self, folder, model, ending=".keras"):
        self.folder, self.model, self.weights_only = folder, model, ending != ".keras"
        self.path = str(folder / f"m{ending}")
        self.parts = PythonParts(template(self.path))
        self.random = np.random.default_rng(0)

    def save(self):
        """Give all variables other values and save; return whether a layout was used."""
        for variable in variables_of(self.model):
            if "float" in variable.dtype:
                variable.assign(self.random.standard_normal(variable.shape))
        snapshot = Snapshot(keras.backend.backend())
        snapshot.take(variables_of(self.model))
        before = self.parts.unchanged(self.model)
        snapshot.python = self.parts.take(self.model, snapshot, (), before)
        layouts = snapshot.python.structure.layouts
        is_known = bool(layouts)
        file, _ = write_snapshot(self.model, snapshot, self.path, weights_only=self.weights_only)
        if self.weights_only:
            self.model.save_weights(self.folder / "keras.weights.h5")
            theirs = (self.folder / "keras.weights.h5").read_bytes()
            assert Path(file).read_bytes() == theirs
        else:
            self.model.save(self.folder / "keras.keras")
            ours = b"".join(bytes(part) for part in file.parts)
            assert ours == (self.folder / "keras.keras").read_bytes()
            assert isinstance(file, MappedFile) == bool(layouts)  # such a file is not read
            assert cut(file) == cut(MemoryFile("m.keras", [ours]))
        return is_known


def built(model, optimizer="adam"):
    model.compile(optimizer, "mse", metrics=["mae"])
    if model.optimizer is not None:
        model.optimizer.build(model.trainable_variables)
    return model


def dense(**options):
    # Some values of more than 64 KiB, which are not copied, and some of one element.
    parts = [layers.Dense(200, **options), layers.BatchNormalization(), layers.Dense(1)]
    return built(keras.Sequential([keras.Input((120,)), *parts]))


def recurrent():
    shared = layers.Dense(3)
    source = keras.Input((5, 2))
    tensor = layers.GRU(3, dropout=0.1)(layers.Conv1D(2, 2)(source))
    return built(keras.Model(source, shared(shared(tensor))), keras.optimizers.SGD(momentum=0.1))


def averaged():
    optimizer = keras.optimizers.AdamW(use_ema=True, clipnorm=1.0)
    return built(keras.Sequential([keras.Input((3,)), layers.Dense(1)]), optimizer)


def scaled():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    return built(keras.Sequential([keras.Input((3,)), layers.Dense(1)]), optimizer)


@keras.saving.register_keras_serializable("kept_tests")
class Twins(keras.Model):
    """Two models with an optimizer each, a metric, and a list of layers."""

    def __init__(self, **options):
        super().__init__(**options)
        self.one = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        self.other = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        self.both = [self.one, layers.Dense(4), {"a": layers.Dense(1)}]
        self.loss_tracker = keras.metrics.Mean()
        self.own = keras.optimizers.RMSprop()

    @property
    def metrics(self):
        return [self.loss_tracker]

    def build(self, shape):
        self.both[1].build((None, 3))
        self.both[2]["a"].build((None, 3))
        self.own.build(self.one.trainable_variables)
        self.built = True

    def call(self, x):
        return self.one(x) + self.other(x)


def twins():
    model = Twins()
    model.build((None, 3))
    return built(model)


MODELS = {
    "dense": dense,
    "bfloat16": lambda: dense(dtype="bfloat16"),
    "mixed": lambda: dense(dtype="mixed_float16"),
    "recurrent": recurrent,
    "averaged": averaged,
    "scaled": scaled,
    "twins": twins,
    "uncompiled": lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3)]),
}


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_later_files_are_those_of_keras(make, ending, tmp_path):
    saves = Saves(tmp_path, make(), ending)
    first, _, third = (saves.save() for _ in range(3))  # Keras's first save can change a model
    assert (first, third) == (False, True)


def test_the_learning_rate_is_no_change_of_the_layout(tmp_path):
    saves = Saves(tmp_path, dense())
    saves.save()
    saves.model.optimizer.learning_rate = 0.5
    assert saves.save()


@keras.saving.register_keras_serializable("kept_tests")
class Parent(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.parts = [layers.Dense(1), layers.Dense(2)]

    def build(self, shape):
        self.scale = self.add_weight(shape=(3,), name="scale")
        for part in self.parts:
            part.build(shape)

    def call(self, x):
        return x


def new_optimizer(model):
    built(model, "sgd")


def another_layer(model):
    model.layers[0]._tracker.unlock()
    model.layers[0].inner = layers.Dense(2)
    model.layers[0].inner.build((None, 3))


def another_order(model):
    model.layers[0].parts.reverse()


def another_name(model):
    model.layers[0].name = "renamed"


def another_shape(model):
    layer = model.layers[0]
    layer._tracker.unlock()
    layer._untrack_variable(layer.scale)
    layer.scale = layer.add_weight(shape=(5,), name="scale")


@pytest.mark.parametrize(
    "change", [new_optimizer, another_layer, another_order, another_name, another_shape]
)
def test_another_structure_has_another_layout(change, tmp_path):
    model = built(keras.Sequential([keras.Input((3,)), Parent(), layers.Dense(3)]))
    saves = Saves(tmp_path, model)
    saves.save()
    change(model)
    assert [saves.save(), saves.save()] == [False, True]


class Doubled(layers.Dense):
    """Saves what is no value of a variable."""

    def save_own_variables(self, store):
        store["0"] = keras.ops.convert_to_numpy(self.kernel) * 2


class Computed(layers.Dense):
    """Has a layer that no attribute of the object holds."""

    @property
    def hidden(self):
        return ELSEWHERE[0]


ELSEWHERE = [layers.Dense(1), layers.Dense(2)]
for one in ELSEWHERE:
    one.build((None, 3))


def low_rank():
    model = built(keras.Sequential([keras.Input((3,)), layers.Dense(4)]))
    model.layers[0].enable_lora(2)
    return built(model)


UNSURE = {
    "doubled": lambda: built(keras.Sequential([keras.Input((3,)), Doubled(2)])),
    "computed": lambda: built(keras.Sequential([keras.Input((3,)), Computed(2)])),
    "low rank": low_rank,
}


@pytest.mark.parametrize("make", UNSURE.values(), ids=UNSURE)
def test_what_is_not_sure_has_no_layout(make, tmp_path):
    saves = Saves(tmp_path, make())
    assert not saves.save()
    ELSEWHERE.reverse()
    assert not saves.save()


def test_a_value_of_another_type_does_not_fit(tmp_path):
    saves = Saves(tmp_path, dense())
    saves.save()
    structure = saves.parts.unchanged(saves.model).structure
    (layout,) = structure.layouts.values()
    assert structure.layouts.keys() == {IN_MEMORY} != {ON_DISK}
    empty = Snapshot(keras.backend.backend())
    assert layout.filled(empty) is None
    gap = layout.gaps[0]
    other = layout._replace(gaps=[gap._replace(kind=(gap.kind[0], "int8")), *layout.gaps[1:]])
    empty.take(variables_of(saves.model))
    assert layout.filled(empty) is not None
    assert other.filled(empty) is None


def test_a_layout_that_is_not_sure_replaces_one_that_was():
    structure, snapshot = Structure(is_sure=True), Snapshot(keras.backend.backend())
    weight = keras.Variable(np.ones(4, "float32"))
    snapshot.take([weight])
    file = io.BytesIO(bytes(snapshot.memory(weight)))
    structure.record(IN_MEMORY, file, [Place(0, weight)], snapshot)
    assert IN_MEMORY in structure.layouts
    structure.record(IN_MEMORY, file, [Place(0, None)], snapshot)
    assert not structure.layouts
