"""kept get."""

from __future__ import annotations

from kept.cli import get


def test_get_writes_to_a_folder_named_after_the_version(run, store, tmp_path):
    text = run("get", "mnist:best").stdout
    assert text.splitlines() == [
        "mnist:v1 is in mnist-v1/ (1 file, 1.0 kB):",
        "mnist-v1/model.keras",
    ]
    assert (tmp_path / "mnist-v1/model.keras").stat().st_size == 1001


def test_get_writes_to_the_given_folder(run, store, tmp_path):
    shape = run.json("get", "mnist", "a/b")
    assert shape["directory"] == str(tmp_path / "a/b")
    assert shape["files"] == [{"path": "model.keras", "size": 1002}]
    assert shape["reference"] == "mnist:v2"
    assert (tmp_path / "a/b/model.keras").exists()


def test_get_counts_the_files_that_it_does_not_list(run, tmp_path, monkeypatch):
    monkeypatch.setattr(get, "_FILES_SHOWN", 2)
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
