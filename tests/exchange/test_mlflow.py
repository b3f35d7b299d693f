"""kept.import_checkpoints of runs of MLflow; tests/data/mlflow has runs of its real client."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import kept
from kept.errors import InvalidInput, InvalidPath, NotFound

DATA = Path(__file__).parent.parent / "data/mlflow"


def run_of(version, root=DATA):
    [run] = [path.parent for path in (root / f"mlflow-{version}").glob("*/*/params")]
    return run


@pytest.fixture
def store(tmp_path):
    return kept.open_store(tmp_path / "store")


def test_the_models_of_mlflow_3_become_versions(store):
    run = run_of("3.17.2")
    first, second = kept.import_checkpoints(run, store=store)
    assert (first.reference, second.reference) == ("small-net:v0", "small-net:v1")
    assert [first.metadata["step"], second.metadata["step"]] == [0, 1]
    metadata = second.metadata
    assert metadata["metrics"] == {"val_loss": 0.25}
    assert metadata["saved_at"] == "2026-11-30T19:10:11.232000Z"
    assert metadata["mlflow"] == {
        "run_id": run.name,
        "run": "small net",
        "params": {"lr": "0.01", "note": "it's: a 'text'"},
        "tags": {"team": "vision"},
        "model": "net",
    }
    assert metadata["keras_version"].startswith("3.")
    assert "data/model.keras" in [file.path for file in second.files]
    assert store["small-net:best"] == store["small-net:step_1"] == store["small-net:v1"]


def test_the_artifacts_of_mlflow_2_become_versions(store):
    *saves, model = kept.import_checkpoints(run_of("2.22.5"), "m", store)
    assert [v.metadata["epoch"] for v in saves] == [0, 1]
    assert [v.metadata["step"] for v in saves] == [1, 2]
    assert saves[0].metadata["metrics"] == {"loss": pytest.approx(2.7122788)}
    assert [file.path for file in saves[0].files] == ["checkpoint.h5"]
    assert model.metadata["metrics"] == {"val_loss": 0.25}
    assert model.metadata["imported_from"]["artifact"] == "model"
    assert "data/model.keras" in [file.path for file in model.files]


def test_a_version_loads_as_a_model(store):
    keras = pytest.importorskip("keras")
    kept.import_checkpoints(run_of("3.17.2"), store=store)
    model = store["small-net:v1"].load_model()
    assert isinstance(model, keras.Model)
    assert model.count_params() == 6


def test_a_run_that_was_moved_is_known(store, tmp_path):
    kept.import_checkpoints(run_of("2.22.5"), "m", store)
    shutil.copytree(DATA, tmp_path / "moved")
    assert kept.import_checkpoints(run_of("2.22.5", tmp_path / "moved"), "m", store) == []
    assert kept.import_checkpoints(f"mlflow:{run_of('2.22.5')}", "m", store) == []


def test_a_damaged_model_is_named(store, tmp_path):
    shutil.copytree(DATA, tmp_path / "moved")
    run = run_of("3.17.2", tmp_path / "moved")
    [*_, file] = sorted(run.parent.glob("models/*/artifacts/data/model.keras"))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.warns(UserWarning, match=r"Not imported: net, step \d: it is no .keras file"):
        assert len(kept.import_checkpoints(run, store=store)) == 1


def test_a_model_without_files_is_named(store, tmp_path):
    shutil.copytree(DATA, tmp_path / "moved")
    run = run_of("3.17.2", tmp_path / "moved")
    [folder, _] = sorted(run.parent.glob("models/*/artifacts"))
    shutil.rmtree(folder)
    with pytest.warns(UserWarning, match="its files are missing"):
        assert len(kept.import_checkpoints(run, store=store)) == 1


def test_an_experiment_is_no_run(store):
    with pytest.raises(InvalidPath, match="Name the folder of one of its runs"):
        kept.import_checkpoints(run_of("2.22.5").parent, store=store)


def test_a_run_without_models_is_refused(store, tmp_path):
    shutil.copytree(DATA, tmp_path / "moved")
    run = run_of("2.22.5", tmp_path / "moved")
    shutil.rmtree(run / "artifacts")
    with pytest.raises(InvalidPath, match="has no model"):
        kept.import_checkpoints(run, store=store)


def test_a_missing_folder_is_refused(store):
    with pytest.raises(InvalidPath, match="does not exist"):
        kept.import_checkpoints("mlflow:mlruns/0/none", store=store)


def test_without_the_client_the_error_names_the_extra(store, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(InvalidInput, match=r"kept\[mlflow\]"):
        kept.import_checkpoints("mlflow:0123abc", store=store)


@pytest.mark.integration
class TestTheClient:
    """Needs mlflow-skinny; it reads a run from the place where the client has written it."""

    @pytest.fixture
    def run_id(self, tmp_path, monkeypatch):
        mlflow = pytest.importorskip("mlflow")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        mlflow.set_tracking_uri(f"file:{tmp_path}/runs")
        source = next(run_of("3.17.2").parent.glob("models/*/artifacts"))
        with mlflow.start_run(run_name="of the client") as run:
            mlflow.log_params({"lr": 0.1})
            mlflow.log_metric("val_loss", 0.5)
            mlflow.log_artifacts(str(source), "model")
            mlflow.log_artifact(str(source / "data/model.keras"), "saves")
        return run.info.run_id

    def test_its_run_becomes_versions(self, run_id, store, tmp_path):
        first, second = kept.import_checkpoints(f"mlflow:{run_id}", store=store)
        assert first.reference == "of-the-client:v0"
        assert first.metadata["metrics"] == {"val_loss": 0.5}
        assert [file.path for file in second.files] == ["model.keras"]
        [folder] = (tmp_path / "runs").glob(f"*/{run_id}")
        assert kept.import_checkpoints(folder, store=store) == []

    def test_a_missing_run_is_not_found(self, run_id, store):
        with pytest.raises(NotFound, match="does not have"):
            kept.import_checkpoints(f"mlflow:{os.urandom(16).hex()}", store=store)
