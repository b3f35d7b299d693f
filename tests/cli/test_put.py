"""kept put."""

from __future__ import annotations

import os

import pytest

import kept
from tests.helpers import tree


def test_put_makes_a_store_and_a_version(run, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("1")
    (tmp_path / "g").write_text("2")
    text = run("put", "data", "d", "g", "--type", "dataset", "-a", "x", "--alias", "y").stdout
    assert text == "data:v0 (latest, x, y): 2 B, 2 B of it new\n"
    version = kept.open_store().version("data")
    assert (version.type, version.aliases) == ("dataset", ("latest", "x", "y"))
    version.download("out")
    assert tree(tmp_path / "out") == {"d/f": b"1", "g": b"2"}


def test_put_of_the_same_says_so(run, store, tmp_path):
    assert run.json("put", "m", __file__, "-a", "x")["is_new"] is True
    text = run("put", "m", __file__, "-a", "y").stdout
    assert text == "Nothing new: m:v0 (latest, x, y) has the same content\n"
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


def test_put_takes_the_steps_of_a_folder_of_orbax(run, tmp_path):
    for name in ("2", "10", "11.orbax-checkpoint-tmp"):
        (tmp_path / "steps" / name).mkdir(parents=True)
        (tmp_path / "steps" / name / "commit_success.txt").write_text(name)
    ended = run("put", "m", "steps", "--orbax")
    assert [line.partition(":")[0] for line in ended.stdout.splitlines()] == ["m", "m"]
    assert "not finished it: 11.orbax-checkpoint-tmp" in ended.stderr
    assert [v.aliases for v in kept.open_store().versions("m")] == [
        ("step_2",),
        ("latest", "step_10"),
    ]
    assert run("put", "m", "steps", "--orbax").stdout.startswith("Nothing new: m has had every")
    assert run.json("put", "m", "steps", "--orbax") == []
    assert [v["reference"] for v in run.json("put", "n", "steps", "--orbax")] == ["n:v0", "n:v1"]


@pytest.mark.parametrize("more", [["-a", "x"], ["-m", "a=1"], ["--type", "x"], ["steps"]])
def test_put_orbax_takes_one_folder_alone(run, more):
    assert "takes one PATH" in run("put", "m", "steps", "--orbax", *more, exit=2).stderr


def test_a_file_without_a_name_before_it(run, tmp_path):
    (tmp_path / "model.keras").write_text("")
    assert "kept put NAME model.keras" in run("put", "model.keras", exit=2).stderr
    assert run("put", "m", exit=2).stderr.endswith("Missing argument 'PATH...'.\n")
