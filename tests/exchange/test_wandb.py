"""kept.import_checkpoints of an artifact of W&B, through the real SDK and a server of the tests."""

from __future__ import annotations

import pytest

import kept
from kept.errors import ImportFailed, InvalidInput, NotFound
from kept.exchange.importing.folder import Options
from kept.exchange.importing.run import import_plan
from kept.exchange.importing.sources import plan_of
from kept.sync.wandb import history
from tests.helpers import tree


@pytest.fixture
def logged(wandb_server, tmp_path, monkeypatch):
    """Three versions of an artifact of W&B, as its users log them."""
    import wandb

    monkeypatch.chdir(tmp_path)
    with wandb.init(project="p", id="run1") as run:
        for n in range(3):
            folder = tmp_path / f"files-{n}"
            (folder / "sub").mkdir(parents=True)
            (folder / "model.keras").write_bytes(bytes([n]) * 1000)
            (folder / "sub/notes.txt").write_text(f"version {n}")
            metadata = {"val_loss": 0.5 - n / 10, "epoch": n, "note": "mine"}
            artifact = wandb.Artifact(
                "model-cnn", "network", metadata=metadata, description=f"number {n}"
            )
            artifact.add_dir(str(folder))
            aliases = ["best", "a b"] if n == 1 else [f"try_{n}", "prod"]
            run.log_artifact(artifact, aliases=aliases).wait()
    return wandb_server


@pytest.fixture
def store(tmp_path):
    return kept.open_store(tmp_path / "store")


def test_the_history_becomes_versions(logged, store, tmp_path):
    new = kept.import_checkpoints("wandb:kept-team/p/model-cnn", store=store)
    assert [v.reference for v in new] == ["model-cnn:v0", "model-cnn:v1", "model-cnn:v2"]
    assert [v.aliases for v in store["model-cnn"]] == [
        ("try_0",), ("best",), ("latest", "prod", "try_2")
    ]  # fmt: skip
    assert store["model-cnn"].type == "network"
    for n, version in enumerate(new):
        version.download(tmp_path / f"out-{n}")
        assert tree(tmp_path / f"out-{n}") == tree(tmp_path / f"files-{n}")


def test_metadata_and_times_stay(logged, store):
    kept.import_checkpoints("wandb:kept-team/p/model-cnn", store=store)
    metadata = store["model-cnn:best"].metadata
    first = logged.versions("model-cnn")[1]
    assert metadata["saved_at"] == first.created.replace("+00:00", "Z")
    assert (metadata["note"], metadata["epoch"]) == ("mine", 1)
    assert metadata["metrics"] == {"val_loss": pytest.approx(0.4)}
    assert metadata["wandb"] == {"description": "number 1", "aliases": ["a b"]}
    place = f"{logged.url}/kept-team/p/model-cnn"
    assert metadata["imported_from"] == {"wandb": place, "version": "v1", "digest": first.digest}


def test_a_second_import_adds_what_is_new(logged, store):
    import wandb

    kept.import_checkpoints("wandb:p/model-cnn", "mine", store)
    assert kept.import_checkpoints("wandb:p/model-cnn", "mine", store) == []
    with wandb.init(project="p", id="run2") as run:
        artifact = wandb.Artifact("model-cnn", "network")
        with artifact.new_file("x.txt") as file:
            file.write("new")
        run.log_artifact(artifact).wait()
    [new] = kept.import_checkpoints("wandb:p/model-cnn", "mine", store)
    assert new.metadata["imported_from"]["version"] == "v3"


def test_a_metric_decides_best_if_it_is_named(logged, store):
    kept.import_checkpoints("wandb:p/model-cnn", store=store, monitor="val_loss")
    assert store["model-cnn:best"].version == "v2"


def test_a_protected_alias_stays(logged, store):
    kept.import_checkpoints("wandb:p/model-cnn", store=store)
    store.protect("prod")
    with pytest.warns(UserWarning, match="prod"):
        kept.import_checkpoints("wandb:p/model-cnn", "again", store)
    assert "prod" not in store["again"].aliases


def test_a_version_that_cannot_be_fetched_is_named(logged, store):
    [blob] = [f.md5 for f in logged.versions("model-cnn")[1].files if f.path == "model.keras"]
    path = logged.blobs.path(blob)
    content = path.read_bytes()
    path.write_bytes(b"other")
    with pytest.warns(UserWarning, match="Not imported: v1: W&B did not send"):
        new = kept.import_checkpoints("wandb:p/model-cnn", store=store)
    assert len(new) == 2
    path.write_bytes(content)
    assert len(kept.import_checkpoints("wandb:p/model-cnn", store=store)) == 1


@pytest.mark.parametrize("path", ["p/other", "other/model-cnn"])
def test_a_missing_artifact_is_not_found(logged, store, path):
    with pytest.raises(NotFound, match="W&B has no artifact"):
        kept.import_checkpoints(f"wandb:{path}", store=store)


@pytest.mark.parametrize("path", ["", "model", "a/b/c/d", "p/model:v1"])
def test_another_path_is_refused(store, path):
    with pytest.raises(InvalidInput, match="ENTITY/PROJECT/ARTIFACT"):
        kept.import_checkpoints(f"wandb:{path}", store=store)


def test_names_of_files_say_nothing_here(store):
    with pytest.raises(InvalidInput, match="pattern is about the names of files"):
        kept.import_checkpoints("wandb:p/model", store=store, pattern="{epoch}.keras")


def test_without_the_sdk_the_error_names_the_extra(store, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(InvalidInput, match=r"kept\[wandb\]"):
        history.history("p/model")


def test_a_server_that_does_not_answer_ends_the_import(logged, store, monkeypatch):
    def lost(*_):
        raise ImportFailed("W&B did not send it")

    with monkeypatch.context() as patch:
        patch.setattr(history.Logged, "download", lost)
        patch.setattr(history.Logged, "server_answers", lambda _: False)
        with pytest.raises(ImportFailed, match=r"The import stopped at v0: .* import again"):
            kept.import_checkpoints("wandb:p/model-cnn", store=store)
    assert len(kept.import_checkpoints("wandb:p/model-cnn", store=store)) == 3


@pytest.mark.integration  # the SDK waits a minute for its server
def test_a_server_that_stops_ends_the_import(logged, store):
    plan = plan_of("wandb:p/model-cnn", None, Options())
    results = import_plan(store, plan, None)
    assert next(results).version.version == "v0"
    logged.stop()
    with pytest.raises(ImportFailed, match=r"The import stopped at v1: .* import again"):
        next(results)
    logged.start()
    new = kept.import_checkpoints("wandb:p/model-cnn", store=store)
    assert [v.metadata["imported_from"]["version"] for v in new] == ["v1", "v2"]


def test_a_type_that_kept_does_not_allow_is_in_the_metadata(wandb_server, store):
    import wandb

    with wandb.init(project="p", id="run1") as run:
        artifact = wandb.Artifact("odd", "raw data")
        with artifact.new_file("x.txt") as file:
            file.write("x")
        run.log_artifact(artifact).wait()
    [new] = kept.import_checkpoints("wandb:p/odd", store=store)
    assert store["odd"].type == "raw-data"
    assert new.metadata["wandb"] == {"type": "raw data"}
