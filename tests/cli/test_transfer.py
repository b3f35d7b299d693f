"""kept get and kept put."""

from __future__ import annotations

import os

import pytest

import kept
from kept.cli import transfer
from tests.helpers import tree


def test_get_writes_to_a_folder_named_after_the_version(run, store, tmp_path):
    text = run("get", "mnist:best").stdout
    assert text.splitlines() == [
        "mnist:v1 is in mnist-v1/ (1 file, 1.0 kB):",
        "mnist-v1/model.keras",
    ]
    assert (tmp_path / "mnist-v1/model.keras").stat().st_size == 1001


def test_get_writes_where_it_is_told(run, store, tmp_path):
    shape = run.json("get", "mnist", "a/b")
    assert shape["directory"] == str(tmp_path / "a/b")
    assert shape["files"] == [{"path": "model.keras", "size": 1002}]
    assert shape["reference"] == "mnist:v2"
    assert (tmp_path / "a/b/model.keras").exists()


def test_get_says_how_many_files_there_are_beyond_those_it_names(run, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "_FILES_SHOWN", 2)
    for name in "abc":
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "f").write_text(name)
    run("put", "m", "d")
    assert run("get", "m").stdout.splitlines()[1:] == ["m-v0/d/a/f", "m-v0/d/b/f", "… and 1 more"]


def test_get_of_a_damaged_version_writes_nothing(run, damaged, tmp_path):
    result = run("get", damaged, exit=4)
    assert result.stderr.startswith("Error: ")
    assert not (tmp_path / "mnist-v1").exists()


def test_get_onto_a_file_is_refused(run, store, tmp_path):
    (tmp_path / "taken").write_text("")
    assert "is a file" in run("get", "mnist", "taken", exit=2).stderr


def test_put_makes_a_store_and_a_version(run, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("1")
    (tmp_path / "g").write_text("2")
    text = run("put", "data", "d", "g", "--type", "dataset", "-a", "x", "--alias", "y").stdout
    assert text == "data:v0 (latest, x, y): 2 B, 2 B of it new to the store\n"
    version = kept.open_store().version("data")
    assert (version.type, version.aliases) == ("dataset", ("latest", "x", "y"))
    version.download("out")
    assert tree(tmp_path / "out") == {"d/f": b"1", "g": b"2"}


def test_put_of_the_same_says_so(run, store, tmp_path):
    assert run.json("put", "m", __file__, "-a", "x")["is_new"] is True
    text = run("put", "m", __file__, "-a", "y").stdout
    assert text == "Nothing new: m:v0 (latest, x, y) is the same\n"
    again = run.json("put", "m", __file__)
    assert (again["version"], again["is_new"], again["bytes_new"]) == ("v0", False, 0)


def test_put_counts_the_bytes_that_are_new(run, store):
    size = os.path.getsize(__file__)
    assert run.json("put", "m", __file__)["bytes_new"] == size
    assert run.json("put", "other", __file__)["bytes_new"] == 0


def test_metadata_is_json_or_else_text(run):
    given = {"a": "1", "b": "0.5", "c": '{"d": [true, null]}', "e": "word", "f": "x=y", "g": ""}
    options = [part for key, value in given.items() for part in ("-m", f"{key}={value}")]
    metadata = run.json("put", "m", __file__, *options)["metadata"]
    assert metadata == {
        "a": 1,
        "b": 0.5,
        "c": {"d": [True, None]},
        "e": "word",
        "f": "x=y",
        "g": "",
    }


@pytest.mark.parametrize("text", ["word", "=1", ""])
def test_metadata_without_key_or_value_is_wrong_usage(run, text, tmp_path):
    assert f"KEY=VALUE. Received: {text!r}" in run("put", "m", __file__, "-m", text, exit=2).stderr
    assert not (tmp_path / "kept-store").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("bad name", __file__),
        ("m:v1", __file__),
        ("m", "not-there"),
        ("m", __file__, "-a", "v3"),
        ("m", __file__, "--type", "a/b"),
        ("mnist", __file__, "--type", "dataset"),
        ("m",),
    ],
)
def test_bad_input_to_put_changes_nothing(run, store, args):
    before = tree_of_log(store)
    assert "Error: " in run("put", *args, exit=2).stderr
    assert tree_of_log(store) == before


def tree_of_log(store):
    return list(store.bucket.keys("artifacts/"))
