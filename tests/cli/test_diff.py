"""kept diff."""

import json
import re

import numpy as np
import pytest

import kept
from tests.helpers import arrays, hdf5, write


@pytest.fixture
def models(run, tmp_path):
    """Versions v0 to v2 of m; the tensor "a" changes in each."""
    store, given = kept.open_store(), arrays(0, a=40_000, b=40_000)
    for n in range(3):
        given = given | {"a": given["a"] * np.float32(2)}
        path = write(tmp_path / "m.weights.h5", hdf5(given))
        store.log_artifact("m", path, metadata={"metrics": {"loss": 1 / (n + 1)}, "epoch": n})
    return store


def test_two_versions(run, models):
    out = run("diff", "m:v0", "m:v2").stdout
    assert out.startswith("m:v0 → m:v2\nTensors: 1 changed, 1 unchanged; read ")
    assert re.search(r"a/0 +300 % .* 100 % +10000\n", out)
    assert "loss     1       0.333333   -0.666667" in out
    assert "b/0" not in out


def test_one_version_is_compared_with_the_one_before(run, models):
    assert run("diff", "m").stdout.startswith("m:v1 → m:v2\n")
    models.delete("m:v1")
    assert run("diff", "m:latest").stdout.startswith("m:v0 → m:v2\n")
    assert "first version of m" in run("diff", "m:v0", exit=3).stderr


def test_a_file(run, models, tmp_path):
    assert "No difference" in run("diff", "m:v2", "m.weights.h5").stdout
    write(tmp_path / "n.weights.h5", hdf5(arrays(5, a=40_000, b=40_000)))
    assert "2 changed" in run("diff", "m.weights.h5", "./n.weights.h5").stdout


def test_two_files_need_no_store(run, tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.h5", hdf5(arrays(ord(name), x=400)))
    assert "1 changed" in run("diff", "a.h5", "b.h5").stdout
    assert "1 changed" in run("diff", "./a.h5", str(tmp_path / "b.h5")).stdout
    assert "no store" in run("diff", "a.h5", "m:v1", exit=3).stderr.lower()


def test_another_store(run, models, tmp_path):
    there = kept.open_store(tmp_path / "there")
    there.log_artifact("x", tmp_path / "m.weights.h5")
    out = run("diff", "m:v1", "there/x:v0").stdout
    assert out.startswith(f"m:v1 → {there.location}/x:v0\n")
    there.log_artifact("x", write(tmp_path / "m.weights.h5", hdf5(arrays(3, a=9))))
    assert "x:v0 → " in run("diff", f"{there.location}/x:latest").stdout


def test_json(run, models):
    found = run.json("diff", "m:v0", "m:v2")
    assert found["differs"] is True
    [tensor] = found["tensors"]
    assert (tensor["name"], tensor["kind"]) == ("a/0", "changed")
    assert tensor["relative"] == pytest.approx(3)
    assert tensor["after"]["shape"] == [10_000]
    assert found["metrics"] == [
        {
            "key": "loss", "kind": "changed", "before": 1.0, "after": 1 / 3,
            "difference": pytest.approx(-2 / 3),
        }
    ]  # fmt: skip
    assert found["bytes_read"] < found["bytes_total"]


def test_exit_code(run, models):
    run("diff", "m:v0", "m:v1")
    run("diff", "m:v0", "m:v1", "--exit-code", exit=1)
    run("diff", "m:v1", "m:v1", "--exit-code")
    assert json.loads(run("diff", "m:v0", "m:v1", "--exit-code", "--json", exit=1).stdout)


def test_what_cannot_be_compared_differs(run, tmp_path):
    store = kept.open_store()
    for size in (3, 4):
        store.log_artifact("m", write(tmp_path / "m.h5", hdf5({"a": np.zeros(size, "f4")})))
    assert "1 reshaped" in run("diff", "m", "--exit-code", exit=1).stdout


def test_rows(run, tmp_path):
    store = kept.open_store()
    for n in range(2):
        given = arrays(n, **{f"t{k}": 400 for k in range(30)})
        store.log_artifact("m", write(tmp_path / "m.h5", hdf5(given)))
    out = run("diff", "m").stdout
    assert out.count("t1") < 30
    assert "… and 10 more; --all shows them" in out
    assert sum(line.startswith("t") for line in run("diff", "m", "--all").stdout.split("\n")) == 30
    assert "… and 28 more" in run("diff", "m", "--limit", "2").stdout


def test_exact(run, tmp_path):
    store, value = kept.open_store(), np.ones(6_000_000, "f4")
    store.log_artifact("m", write(tmp_path / "m.h5", hdf5({"a": value})))
    value[-1] = 9
    store.log_artifact("m", write(tmp_path / "m.h5", hdf5({"a": value})))
    assert "≤ " in run("diff", "m").stdout
    assert "≤ " not in run("diff", "m", "--exact").stdout
    assert "< 0.1 %" in run("diff", "m").stdout


@pytest.mark.parametrize(
    ("args", "exit", "message"),
    [
        (["nope"], 3, "No artifact 'nope'"),
        (["m:v9", "m:v1"], 3, "m has no 'v9'"),
        (["m:v1", "./no.keras"], 2, "no such file or folder"),
        (["m:v1", "notes.txt"], 2, "no checkpoint"),
        (["./m.weights.h5"], 2, "pass B as well"),
        (["m:v1", "m:v2", "--limit", "0"], 2, "--limit"),
        ([], 2, "Missing argument"),
    ],
)
def test_errors(run, models, tmp_path, args, exit, message):
    write(tmp_path / "notes.txt", b"hello")
    assert message in run("diff", *args, exit=exit).stderr


def test_damage_is_an_error(run, models):
    for key in list(models.bucket.keys("blobs/")):
        models.bucket.delete(key)
    assert "is missing" in run("diff", "m:v0", "m:v1", exit=4).stderr


def test_names_cannot_steer_a_terminal(run, tmp_path):
    import h5py

    store = kept.open_store()
    for n in range(2):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file["a\x1b[31m\n"] = np.full(9, n + 1.0)
        store.log_artifact("m", tmp_path / "m.h5", metadata={"k\x1b": f"{n}\x1b[2J"})
    out = run("diff", "m").stdout
    assert "\x1b" not in out
    assert "\\x1b" in out
