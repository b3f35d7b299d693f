"""How the command marks versions that are not healthy."""

from __future__ import annotations

import os

import pytest

import kept
from kept.errors import VersionNotFound

BAD = {
    "health": "unhealthy",
    "health_findings": [
        "dense/kernel: 12 of 640 values are NaN",
        "dense/bias: all are NaN\x1b[31m",
    ],
    "weights_norm": "nan",
    "framework": "jax",
}


@pytest.fixture
def put(store):
    """Log another version with metadata."""

    def put(**metadata):
        content = os.urandom(10)
        return store.log_artifact("mnist", kept.MemoryFile("f", [content]), metadata=metadata)

    return put


def test_no_column_if_all_are_ok(run, put):
    put(health="ok", weights_norm=1.5)
    assert "health" not in run("ls", "mnist").stdout


def test_a_column_marks_the_others(run, put):
    put(health="ok", weights_norm=1.5)
    put(**BAD)
    head, *lines = run("ls", "mnist").stdout.splitlines()
    assert "health" in head.split()
    assert "unhealthy" in lines[-1].split()
    assert "ok" in lines[-2].split()
    assert "unhealthy" not in lines[0]
    shown = run.json("ls", "mnist")[-1]["metadata"]
    assert shown["health"] == "unhealthy"


def test_a_search_finds_them(run, put):
    version = put(**BAD)
    found = run.json("ls", "--where", "health = unhealthy")
    assert [each["reference"] for each in found] == [version.reference]


def test_show_lists_what_was_found(run, put):
    version = put(**BAD)
    shown = run("show", version.reference).stdout
    lines = [line.strip() for line in shown.splitlines()]
    start = next(n for n, line in enumerate(lines) if line.startswith("health"))
    assert lines[start].split() == ["health", "unhealthy"]
    assert lines[start + 1] == "dense/kernel: 12 of 640 values are NaN"
    assert "\x1b" not in shown
    assert shown.count("12 of 640") == 1


def test_show_says_that_a_version_of_an_earlier_kept_was_not_measured(run, put):
    assert "not measured" in run("show", put(framework="jax").reference).stdout
    assert "not measured" not in run("show", put(a=1).reference).stdout


def test_metadata_of_another_form_break_nothing(run, put):
    version = put(health=["x"], health_findings={"a": 1}, weights_norm="big")
    assert version.reference in run("show", version.reference).stdout
    assert "health" not in run("ls", "mnist").stdout.splitlines()[0]


def test_best_on_an_unhealthy_version_is_a_persons_choice(run, put):
    version = put(**BAD)
    lines = run("alias", version.reference, "best").stdout.splitlines()
    assert lines[0].startswith(f"mnist:best is {version.reference}")
    assert (
        lines[1] == f"{version.reference} is unhealthy; to see why: kept show {version.reference}"
    )
    assert len(run("alias", version.reference, "mine").stdout.splitlines()) == 1


def test_kept_best_passes_over_them(run, put):
    put(metrics={"acc": 0.5})
    put(metrics={"acc": 0.9}, **BAD)
    assert run.json("best", "mnist", "--monitor", "acc", "--mode", "max")["best"]["version"] == "v3"


def test_kept_best_says_that_all_are_unhealthy(run, put):
    put(metrics={"acc": 0.9}, **BAD)
    with pytest.raises(VersionNotFound, match="with a finite 'acc' is unhealthy"):
        kept.open_store().artifact("mnist").best("acc", "max")
