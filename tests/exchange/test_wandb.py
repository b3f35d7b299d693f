"""kept import wandb:…: the history of an artifact, through the real SDK."""

from __future__ import annotations

import pytest

import kept


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
            (folder / "sub" / "notes.txt").write_text(f"version {n}")
            artifact = wandb.Artifact(
                "model-cnn", "model", metadata={"val_loss": 0.5 - n / 10, "epoch": n},
                description=f"number {n}",
            )  # fmt: skip
            artifact.add_dir(str(folder))
            run.log_artifact(artifact, aliases=["best"] if n == 1 else [f"try_{n}"]).wait()
    return wandb_server


def test_the_history_becomes_versions(logged, tmp_path):
    store = kept.open_store(tmp_path / "store")
    new = kept.import_checkpoints("wandb:kept-team/p/model-cnn", store=store)
    assert [v.reference for v in new] == ["model-cnn:v0", "model-cnn:v1", "model-cnn:v2"]
    print(store["model-cnn:v2"].metadata)
    assert kept.import_checkpoints("wandb:p/model-cnn", store=store) == []
