"""kept.export_model: what is exported predicts the same."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kept
from kept.errors import ExportFailed, InvalidInput, InvalidPath
from kept.exchange.exporting import formats
from tests.exchange.models import INPUT
from tests.helpers import tree

ROOT = Path(__file__).parent.parent.parent
keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def model():
    """A small model that was trained, so that its optimizer has state."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(5, activation="relu"), keras.layers.Dense(2)]
    made = keras.Sequential([keras.Input((4,)), *layers])
    made.compile("adam", "mse")
    made.fit(np.array(INPUT), np.ones((3, 2)), verbose=0)
    return made


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    store = kept.open_store(folder / "store")
    for ending in ("keras", "h5", "weights.h5"):
        path = folder / f"model.{ending}"
        (model.save_weights if ending == "weights.h5" else model.save)(path)
        store.log_artifact(ending.partition(".")[0], path)
    return store


@pytest.fixture
def version(store):
    return store["keras"].latest


def predicted(made):
    return made.predict(np.array(INPUT, "float32"), verbose=0)


def exported(store, framework, folder, *names):
    """Export in a process with a framework; return what its model predicts, and TensorFlow."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.exchange.models", store.location, "keras:v0", folder, *names],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": framework, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def of_tensorflow(store, tmp_path_factory):
    """The exports from TensorFlow, in one process, and the predictions."""
    for package in ("tensorflow", "tf2onnx"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    folder = tmp_path_factory.mktemp("tensorflow")
    return folder, exported(store, "tensorflow", folder, "saved_model", "onnx", "litert")


@pytest.mark.parametrize("name", ["keras", "weights"])
def test_weights_come_without_keras_and_without_the_optimizer(store, model, tmp_path, name):
    import h5py

    out = tmp_path / "w.weights.h5"
    code = (
        "import sys, kept; sys.modules['keras'] = None; "
        f"kept.export_model(kept.open_store({store.location!r})[{name!r}].latest, {str(out)!r}, "
        "'weights')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with h5py.File(out) as file:
        assert "optimizer" not in file
        assert "layers" in file
    fresh = keras.models.clone_model(model)
    fresh.load_weights(out)
    np.testing.assert_array_equal(predicted(fresh), predicted(model))


def test_weights_of_an_h5_model(store, model, tmp_path):
    out = kept.export_model(store["h5"].latest, tmp_path / "w.weights.h5", "weights")
    fresh = keras.models.clone_model(model)
    fresh.load_weights(out)
    np.testing.assert_array_equal(predicted(fresh), predicted(model))


def test_a_keras_file_without_the_optimizer(version, model, tmp_path):
    out = kept.export_model(version, tmp_path / "m.keras", "keras")
    loaded = keras.saving.load_model(out)
    np.testing.assert_array_equal(predicted(loaded), predicted(model))
    assert out.stat().st_size < version.size


@pytest.mark.parametrize("name", ["saved_model", "litert"])
def test_what_tensorflow_loads_predicts_the_same(of_tensorflow, name):
    _, found = of_tensorflow
    np.testing.assert_allclose(found[name], found["model"], atol=1e-6)


def assert_onnx_predicts(folder, found):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(folder / "m.onnx")
    [values] = session.run(None, {session.get_inputs()[0].name: np.array(INPUT, "float32")})
    np.testing.assert_allclose(values, found["model"], atol=1e-6)


def test_an_onnx_file_predicts_the_same(of_tensorflow):
    assert_onnx_predicts(*of_tensorflow)


@pytest.mark.integration
def test_a_saved_model_from_jax_predicts_the_same(store, tmp_path):
    pytest.importorskip("tensorflow")
    found = exported(store, "jax", tmp_path, "saved_model")
    np.testing.assert_allclose(found["saved_model"], found["model"], atol=1e-6)


@pytest.mark.integration
@pytest.mark.parametrize(("framework", "package"), [("torch", "onnxscript"), ("jax", "jax2onnx")])
def test_an_onnx_file_of_another_framework_predicts_the_same(store, tmp_path, framework, package):
    pytest.importorskip(package)
    assert_onnx_predicts(tmp_path, exported(store, framework, tmp_path, "onnx"))


@pytest.mark.integration
@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_a_model_of_openvino_predicts_the_same(store, tmp_path, framework):
    openvino = pytest.importorskip("openvino")
    expected = exported(store, framework, tmp_path, "openvino")["model"]
    assert {path.name for path in tmp_path.iterdir()} == {"m.xml", "m.bin"}
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(tmp_path / "m.xml", "CPU", options)
    np.testing.assert_allclose(compiled(np.array(INPUT, "float32"))[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("framework", "format", "other"),
    [
        ("torch", "saved_model", "KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax"),
        ("jax", "litert", "KERAS_BACKEND=tensorflow or KERAS_BACKEND=torch"),
        ("jax", "openvino", "KERAS_BACKEND=tensorflow or KERAS_BACKEND=torch"),
        ("openvino", "onnx", "KERAS_BACKEND=tensorflow"),
    ],
)
def test_what_a_framework_cannot_write_is_named(framework, format, other):
    with pytest.raises(InvalidInput, match=other):
        formats.check_framework(formats.format_of(format), framework, "3.15.1")


@pytest.mark.parametrize(
    ("framework", "format", "install"),
    [
        ("tensorflow", "onnx", "pip install onnx tf2onnx"),
        ("jax", "onnx", "pip install jax2onnx"),
        ("torch", "litert", "pip install litert-torch"),
        ("torch", "openvino", "pip install openvino"),
    ],
)
def test_a_missing_package_is_named(framework, format, install, monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=install):
        formats.check_framework(formats.format_of(format), framework, "3.15.1")


def test_these_are_named_before_the_model_is_loaded(version, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.setattr(type(version), "load_model", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(InvalidInput, match="Keras cannot export one from torch"):
        kept.export_model(version, tmp_path / "saved", "saved_model")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_unless_it_is_forced(version, tmp_path):
    out = tmp_path / "w.weights.h5"
    out.write_bytes(b"mine")
    with pytest.raises(InvalidPath, match="exists"):
        kept.export_model(version, out, "weights")
    assert out.read_bytes() == b"mine"
    kept.export_model(version, out, "weights", force=True)
    assert out.read_bytes() != b"mine"


def test_a_folder_that_is_no_saved_model_is_never_replaced(version, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").write_text("dear")
    with pytest.raises(InvalidPath, match="is not a SavedModel"):
        kept.export_model(version, tmp_path / "home", "saved_model", force=True)
    assert tree(tmp_path / "home") == {"letter": b"dear"}


def test_a_saved_model_is_replaced_as_a_whole(version, tmp_path, monkeypatch):
    from kept.exchange.exporting import export

    def write(model, out, *_):
        os.mkdir(out)
        Path(out, "saved_model.pb").write_text("new")

    monkeypatch.setattr(export, "_write", write)
    monkeypatch.setattr(export, "_check_keras", lambda _: None)
    (tmp_path / "saved").mkdir()
    for name in ("saved_model.pb", "old"):
        (tmp_path / "saved" / name).write_text("before")
    kept.export_model(version, tmp_path / "saved", "saved_model", force=True)
    assert tree(tmp_path) == {"saved/saved_model.pb": b"new"}


@pytest.mark.parametrize("format", ["keras", "onnx", "saved_model"])
def test_a_failed_export_leaves_what_was_there(version, tmp_path, monkeypatch, format):
    from kept.exchange.exporting import export

    def fail(model, out, *_):
        Path(out).write_text("half")
        raise RuntimeError("\x1b[1mno rule for this layer\x1b[0m")

    monkeypatch.setattr(export, "_write", fail)
    monkeypatch.setattr(export, "_check_keras", lambda _: None)
    out = tmp_path / f"m{formats.format_of(format).ending}"
    with pytest.raises(ExportFailed, match=r"RuntimeError: no rule for this layer$"):
        kept.export_model(version, out, format)
    assert list(tmp_path.iterdir()) == []


def test_code_in_a_model_needs_trust(tmp_path):
    made = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2)])
    made.save(tmp_path / "code.keras")
    version = kept.open_store(tmp_path / "store").log_artifact("m", tmp_path / "code.keras")
    with pytest.raises(InvalidInput, match="is not loaded"):
        kept.export_model(version, tmp_path / "out.keras", "keras")
    assert kept.export_model(version, tmp_path / "out.keras", "keras", safe_mode=False).exists()


class Own(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_own_classes_are_passed_on(tmp_path):
    made = Own()
    made(np.array(INPUT, "float32"))
    made.save(tmp_path / "own.keras")
    version = kept.open_store(tmp_path / "store").log_artifact("m", tmp_path / "own.keras")
    with pytest.raises(ExportFailed, match=r"--module; in Python pass custom_objects="):
        kept.export_model(version, tmp_path / "out.keras", "keras")
    out = kept.export_model(version, tmp_path / "out.keras", "keras", custom_objects={"Own": Own})
    loaded = keras.saving.load_model(out, custom_objects={"Own": Own})
    np.testing.assert_array_equal(predicted(loaded), predicted(made))


@pytest.mark.parametrize(
    ("path", "format", "options", "message"),
    [
        ("m.onnx", "onnxx", {}, "format is one of weights, keras"),
        ("m.bin", "onnx", {}, "ends in .onnx"),
        (".keras", "keras", {}, "ends in .keras"),
        ("m.keras", "keras", {"opset_version": 3}, "has no options"),
    ],
)
def test_bad_input_is_refused(version, tmp_path, path, format, options, message):
    with pytest.raises(InvalidInput, match=message):
        kept.export_model(version, tmp_path / path, format, **options)


@pytest.mark.parametrize("format", ["keras", "onnx"])
def test_without_keras_the_error_says_what_to_install(version, tmp_path, monkeypatch, format):
    monkeypatch.setitem(sys.modules, "keras", None)
    ending = formats.format_of(format).ending
    with pytest.raises(InvalidInput, match=r"needs keras, which is not installed.*kept\[jax\]"):
        kept.export_model(version, tmp_path / f"m{ending}", format)


def test_a_version_of_weights_has_no_model(store, tmp_path):
    with pytest.raises(InvalidInput, match="weights only"):
        kept.export_model(store["weights"].latest, tmp_path / "m.keras", "keras")


def test_a_damaged_file_is_no_export(tmp_path):
    (tmp_path / "m.keras").write_bytes(b"PK\x03\x04 not a zip")
    version = kept.open_store(tmp_path / "store").log_artifact("m", tmp_path / "m.keras")
    with pytest.raises(InvalidInput):
        kept.export_model(version, tmp_path / "w.weights.h5", "weights")
    assert not (tmp_path / "w.weights.h5").exists()
