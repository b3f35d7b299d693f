"""The archive that is composed of a snapshot's memory is Keras's own, byte by byte."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tomllib
import zipfile
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest

import kept
from kept.errors import InvalidCheckpoint
from kept.training.keras_api import fast_zip, keras3, private_api, save_file, snapshot_scope
from kept.training.keras_api.save_file import write_snapshot
from kept.training.snapshot.snapshot import Snapshot
from kept.training.snapshot.variables import variables_of
from tests.training.helpers import compiled_wide, content, content_of, play


def snapshot_of(model):
    snapshot = Snapshot(keras.backend.backend())
    snapshot.take(variables_of(model))
    return snapshot


def written(file):
    return b"".join(bytes(part) for part in file.parts)


def with_vocabulary():
    """A model with an asset beside its variables."""
    lookup = keras.layers.StringLookup(vocabulary=["a", "b"])
    return keras.Sequential([keras.Input((1,), dtype="string"), lookup])


MODELS = {
    "dense": compiled_wide,
    "bfloat16": lambda: compiled_wide(dtype="bfloat16"),
    "mixed": lambda: compiled_wide(dtype="mixed_bfloat16"),
    "without optimizer": lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]),
}
if keras.backend.backend() == "tensorflow":
    MODELS["assets"] = with_vocabulary


@pytest.mark.usefixtures("frozen_clock")
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_is_the_file_that_keras_writes(make, tmp_path):
    model = make()
    model.save(tmp_path / "keras.keras")
    file, missing = write_snapshot(model, snapshot_of(model), "m.keras", weights_only=False)
    assert written(file) == (tmp_path / "keras.keras").read_bytes()
    assert missing == []


def test_holds_the_snapshot_s_memory_and_not_a_copy():
    model = compiled_wide()
    snapshot = snapshot_of(model)
    file, _ = write_snapshot(model, snapshot, "m.keras", weights_only=False)
    kernels = [v for v in variables_of(model) if len(v.shape) == 2]
    assert len(kernels) == 6  # of two layers, with two moments each
    ours = {address(part) for part in file.parts}
    assert {address(snapshot.memory(kernel)) for kernel in kernels} <= ours


def test_compares_only_what_an_optimizer_has_copied_and_that_once(monkeypatch):
    compared = []

    def comparing(one, other):
        compared.append(len(one))
        return bytes(one) == bytes(other)

    monkeypatch.setattr(snapshot_scope, "_are_equal", comparing)
    model = compiled_wide()
    write_snapshot(model, snapshot_of(model), "m.keras", weights_only=False)
    kernels = [v for v in model.optimizer.variables if len(v.shape) == 2]
    assert [size for size in compared if size > 1000] == [200 * 200 * 4] * len(kernels)


def address(buffer):
    return np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]


def test_what_a_layer_changes_before_it_saves_is_what_is_saved(tmp_path):
    """The snapshot has other bytes then, and they are not taken for the layer's."""

    @keras.saving.register_keras_serializable("kept_tests")
    class Negated(keras.layers.Dense):
        def save_own_variables(self, store):
            store["0"] = -keras.ops.convert_to_numpy(self.kernel)
            store["1"] = keras.ops.convert_to_numpy(self.bias)

    model = keras.Sequential([keras.Input((200,)), Negated(200)])
    model.save(tmp_path / "live.keras")
    callback = kept.ModelCheckpoint("m.keras", name="m")
    hooks = keras.callbacks.CallbackList([callback], model=model, epochs=1)
    hooks.on_train_begin()
    hooks.on_epoch_begin(0)
    hooks.on_epoch_end(0, {})
    hooks.on_train_end()
    assert content("m.keras") == content(tmp_path / "live.keras")


SAVING = """
import sys
import keras, numpy, kept
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
model.compile("adam", "mse")
numbers = numpy.ones((8, 4)), numpy.ones((8, 3))
for options in ({}, {"background": False}, {"resume": True}):
    for path in ("m.keras", "m.weights.h5", *([] if "resume" in options else ["m.h5"])):
        weights = "weights" in path
        callback = kept.ModelCheckpoint(path, save_weights_only=weights, name=path[:-3], **options)
        model.fit(*numbers, verbose=0, callbacks=[callback])
        callback.close()
        assert callback.versions or options.get("resume"), path
print("tensorflow" in sys.modules)
"""


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="has imported it")
def test_tensorflow_is_not_imported_to_save():
    """By Keras it would be, where it is installed, in the first save: it takes seconds."""
    command = [sys.executable, "-c", SAVING]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr[-3000:]


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_process_forked_during_a_save_can_save():
    locks = save_file._saving, private_api._replacing
    with locks[0], locks[1]:
        child = os.fork()
        if not child:
            os._exit(not all(lock.acquire(timeout=5) for lock in locks))
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tests what is of TensorFlow")
def test_what_is_of_tensorflow_is_saved_as_such_where_it_is_imported():
    import tensorflow as tf
    from keras.src.saving import serialization_lib

    things, before = (
        [tf.TensorShape([None, 2]), tf.float16, tf.TensorSpec((3,))],
        serialization_lib.tf,
    )
    plain = [keras.saving.serialize_keras_object(thing) for thing in things]
    with private_api.tensorflow_not_imported():
        assert [keras.saving.serialize_keras_object(thing) for thing in things] == plain
    assert serialization_lib.tf is before


def test_no_thread_waits_for_a_save_of_another():
    """A writer may take seconds, and a save on the training thread must not wait for it."""
    from keras.src.saving import serialization_lib

    before, inside, end = serialization_lib.tf, threading.Event(), threading.Event()

    def write():
        with private_api.tensorflow_not_imported():
            inside.set()
            end.wait(60)

    writer = threading.Thread(target=write)
    writer.start()
    assert inside.wait(60)
    with private_api.tensorflow_not_imported():
        replaced = serialization_lib.tf
    assert serialization_lib.tf is replaced
    assert replaced is not before
    end.set()
    writer.join()
    assert serialization_lib.tf is before


def test_a_keras_without_that_part_saves_all_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras.src.saving.serialization_lib", None)
    monkeypatch.delattr("keras.src.saving.serialization_lib")
    with private_api.tensorflow_not_imported():
        pass


@pytest.mark.parametrize("version", ["3.9.4", "3.16.0", "4.0.0"])
def test_an_unknown_keras_writes_the_file_itself(version, monkeypatch, tmp_path):
    monkeypatch.setattr(keras, "__version__", version)
    model = compiled_wide()
    path = str(tmp_path / "m.keras")
    assert write_snapshot(model, snapshot_of(model), path, weights_only=False).file == path
    assert content(path) != {}


def test_a_model_that_saves_in_its_own_way_does_so(tmp_path):
    class Own(keras.Sequential):
        def save(self, filepath, **_):
            super().save(filepath)
            with open(filepath, "ab") as file:
                file.write(b"more")

    model = Own([keras.Input((4,)), keras.layers.Dense(3)])
    callback = kept.ModelCheckpoint("m.keras", name="m")
    play([callback], [{}], model=model)
    assert (tmp_path / "m.keras").read_bytes().endswith(b"more")
    assert content_of(callback.versions[0], tmp_path / "out") == content("m.keras")


def test_the_installed_keras_is_known():
    assert private_api.can_compose(compiled_wide(), "m.keras")


@pytest.mark.any_framework
@pytest.mark.parametrize("version", ["3.9.2", "3.0.5", "2.15.0"])
def test_an_older_keras_is_refused_before_training(version, monkeypatch):
    monkeypatch.setattr(keras, "__version__", version)
    monkeypatch.setattr(keras3.Keras3, "version", version)
    with pytest.raises(InvalidCheckpoint, match=f"needs Keras 3.10 or later.*{version}"):
        kept.ModelCheckpoint("m.keras")
    with pytest.raises(InvalidCheckpoint, match=f"needs Keras 3.10 or later.*{version}"):
        kept.resume(compiled_wide(), "m:v0")


def test_the_oldest_keras_that_is_tested_is_the_one_that_is_asked_for():
    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    (asked,) = project["optional-dependencies"]["keras"]
    oldest = asked.removeprefix("keras>=")
    assert f"keras=={oldest}" in (root / "requirements/oldest-keras.txt").read_text().split()
    assert private_api.KNOWN[0] == tuple(map(int, oldest.split(".")[:2]))


def test_the_zipfile_of_everybody_else_stays_as_it_is():
    assert zipfile.crc32 is zlib.crc32
    assert fast_zip.zipfile.crc32 is not zlib.crc32
    assert fast_zip.zipfile.crc32(b"kept", 7) == zlib.crc32(b"kept", 7)
