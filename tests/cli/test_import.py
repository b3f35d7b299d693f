"""kept import."""

from __future__ import annotations

import json
import os

import pytest

import kept
from kept.cli import common
from tests.helpers import arrays, keras


@pytest.fixture
def folder(run, tmp_path):
    place = tmp_path / "run"
    place.mkdir()
    for epoch, loss in [(1, 0.5), (2, 0.25), (10, 0.75)]:
        (place / f"w.{epoch:02d}-{loss:.2f}.keras").write_bytes(keras(arrays(epoch, a=400)))
        os.utime(place / f"w.{epoch:02d}-{loss:.2f}.keras", (1_700_000_000 + epoch,) * 2)
    (place / "history.csv").write_text("x")
    return place


def test_a_plan_in_json_has_no_nan(run, folder):
    (folder / "w.11-nan.keras").write_bytes(keras(arrays(11, a=400)))
    text = run("import", "run", "--monitor", "val_loss", "--dry-run", "--json").stdout
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [item["metrics"]["val_loss"] for item in found] == [0.5, 0.25, 0.75, "nan"]


def test_a_folder_becomes_versions(run, folder):
    text = run("import", "run", "--monitor", "val_loss").stdout
    assert text.startswith("Imported 3 checkpoints as run:v0 to v2: ")
    versions = kept.open_store()["run"].versions()
    assert [v.metadata["epoch"] for v in versions] == [0, 1, 9]
    assert versions[1].aliases == ("best", "epoch_1")
    titles, first, *_ = run("ls", "run").stdout.splitlines()
    assert titles.split() == [
        "version",
        "aliases",
        "val_loss",
        "size",
        "created",
        "digest",
        "saved",
    ]
    assert "2023-11-1" in first
    shown = run("show", "run:best").stdout
    assert "saved_at" in shown
    assert "imported_from.file" in shown


def test_the_plan_is_shown_and_nothing_is_stored(run, folder, tmp_path):
    lines = run("import", "run", "m", "--dry-run", "--monitor", "val_loss").stdout.splitlines()
    assert lines[0].split() == ["checkpoint", "epoch", "val_loss", "size", "saved"]
    assert lines[3].split()[:3] == ["w.10-0.75.keras", "9", "0.75"]
    assert lines[4].startswith("3 checkpoints, ")
    assert lines[4].endswith("as versions of m")
    assert "best: the lowest val_loss" in lines
    assert "Left out: 1 other file (history.csv)" in lines
    assert any(line.startswith("Epochs in names count from 1") for line in lines)
    assert not (tmp_path / "kept-store").exists()


def test_a_number_without_a_name_is_shown(run, folder):
    text = run("import", "run", "--dry-run").stdout
    assert "0.25 has no name" in text
    assert "--pattern" in text


def test_the_plan_as_json(run, folder):
    first, *_ = run.json("import", "run", "--dry-run", "--pattern", "w.{epoch}-{val_loss}.keras")
    assert (first["epoch"], first["metrics"]) == (0, {"val_loss": 0.5})
    assert first["saved_at"] == "2023-11-14T22:13:21.000000Z"
    assert first["imported_from"]["file"] == "w.01-0.50.keras"


def test_a_second_import_says_that_nothing_is_new(run, folder):
    run("import", "run")
    assert run("import", "run").stdout == "Nothing new: run has every checkpoint already\n"
    assert run.json("import", "run") == []


def test_a_damaged_file_ends_with_1_after_the_others(run, folder):
    (folder / "w.02-0.25.keras").write_bytes(b"short")
    result = run("import", "run", exit=1)
    assert result.stdout.startswith("Imported 2 checkpoints as run:v0 to v1: ")
    assert "Not imported: w.02-0.25.keras: it is no .keras file" in result.stderr
    assert "Error: 1 checkpoint not imported" in result.stderr
    result = run("import", "run", "--json", exit=1)
    assert result.stdout.strip() == "[]"
    assert '"type": "ImportFailed"' in result.stderr


@pytest.mark.parametrize("answer", ["y\n", "n\n"])
def test_a_person_is_asked_after_the_plan(run, folder, terminal, monkeypatch, answer):
    from kept.cli import import_

    monkeypatch.setattr(import_, "sys", common.sys)
    result = run("import", "run", input=answer, exit=0 if answer == "y\n" else 1)
    assert "w.10-0.75.keras" in result.stdout
    assert "Import 3 checkpoints as versions of run?" in result.stderr
    assert kept.open_store().exists == (answer == "y\n")
    again = run("import", "run", "other", "-y")
    assert "?" not in again.stderr


def test_a_folder_of_mlflow(run):
    from tests.exchange.test_mlflow import run_of

    text = run("import", str(run_of("3.17.2"))).stdout
    assert text.startswith("Imported 2 checkpoints as small-net:v0 to v1: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "does not exist"),
        (["run", "--mode", "up"], "'up' is not one of"),
        (["run", "a b"], "An artifact name"),
        (["run", "--pattern", "plain.keras"], "The pattern cannot be used"),
        (["wandb:x"], "ENTITY/PROJECT/ARTIFACT"),
        (["mlflow:a/b"], "does not exist"),
    ],
)
def test_bad_input_is_wrong_usage(run, folder, arguments, message):
    assert message in run("import", *arguments, exit=2).stderr


def test_names_cannot_steer_a_terminal(run, folder):
    (folder / "w.11-\x1b[31m.keras").write_bytes(keras(arrays(3, a=400)))
    text = run("import", "run", "--dry-run").stdout
    assert "\x1b" not in text
    assert "w.11-\\x1b[31m.keras" in text
    run("import", "run")
    assert kept.open_store()["run:epoch_10"].files[0].path == "w.11-_[31m.keras"
