"""kept export; tests/exchange/test_export.py checks what is exported."""

from __future__ import annotations

import os
import sys

import pytest

import kept
from tests.helpers import arrays, hdf5, keras


@pytest.fixture
def version(run, tmp_path):
    (tmp_path / "model.keras").write_bytes(keras(arrays(1, dense=4000, optimizer=4000)))
    return kept.open_store().log_artifact("mnist", "model.keras")


def test_the_path_is_that_of_the_version(run, version, tmp_path):
    text = run("export", "mnist", "--to", "weights").stdout
    out = tmp_path / "mnist-v0.weights.h5"
    assert text.startswith(f"mnist:v0 as weights: {out} (")
    assert out.exists()


def test_as_json(run, version, tmp_path):
    found = run.json("export", "mnist:v0", "--to", "weights", "--out", "a/w.weights.h5")
    path = str(tmp_path / "a/w.weights.h5")
    size = os.path.getsize(path)
    assert found == {"reference": "mnist:v0", "format": "weights", "path": path, "size": size}


def test_an_existing_file_needs_force(run, version):
    run("export", "mnist", "--to", "weights")
    assert "exists" in run("export", "mnist", "--to", "weights", exit=2).stderr
    run("export", "mnist", "--to", "weights", "--force")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["mnist"], 2, "Missing option '--to'"),
        (["mnist", "--to", "pdf"], 2, "'pdf' is not one of"),
        (["mnist", "--to", "weights", "--opset", "17"], 2, "--opset is an option of --to onnx"),
        (["mnist", "--to", "onnx", "-o", "x"], 2, "KEY=VALUE"),
        (["mnist", "--to", "weights", "-o", "x=1"], 2, "has no options"),
        (["mnist", "--to", "weights", "--module", "no_such_module"], 2, "cannot be imported"),
        (["mnist", "--to", "onnx", "--out", "m.keras"], 2, "ends in .onnx"),
        (["other", "--to", "weights"], 3, "No artifact 'other'"),
    ],
)
def test_wrong_usage(run, version, arguments, code, message):
    assert message in run("export", *arguments, exit=code).stderr


def test_options_reach_the_export(run, version, monkeypatch):
    from kept.exchange.exporting import export

    taken = {}

    def note(version, path, format, **options):
        taken.update(options, path=path)
        with open("m.onnx", "w"):
            return "m.onnx"

    monkeypatch.setattr(export, "export_model", note)
    run("export", "mnist", "--to", "onnx", "--opset", "17", "-o", "a=[1]", "-o", "b=x", "--unsafe")
    assert taken == {
        "opset_version": 17, "a": [1], "b": "x", "path": None, "force": False, "safe_mode": False,
    }  # fmt: skip


def test_a_module_of_the_current_folder_is_imported(run, version, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_classes_of_test.py").write_text("LOADED = True")
    run("export", "mnist", "--to", "weights", "--module", "own_classes_of_test")
    assert sys.modules.pop("own_classes_of_test").LOADED


def test_weights_alone_lose_their_optimizer(run, tmp_path):
    import h5py

    (tmp_path / "m.weights.h5").write_bytes(hdf5(arrays(1, dense=400)))
    with h5py.File("m.weights.h5", "a") as file:
        file["optimizer/vars/0"] = [1.0]
    kept.open_store().log_artifact("w", "m.weights.h5")
    run("export", "w", "--to", "weights", "--out", "out.weights.h5")
    with h5py.File("out.weights.h5") as file:
        assert list(file) == ["layers"]
