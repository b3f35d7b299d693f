"""kept tag, note, metric and best: what is said and measured of versions after the save."""

from __future__ import annotations

import pytest


def test_tags_are_added_and_removed(run, store):
    assert run("tag", "mnist:best", "good", "a b").stdout == "mnist:v1: a b, good\n"
    assert run("tag", "mnist:v1", "--remove", "good", "none").stdout == "mnist:v1: a b\n"
    assert run.json("tag", "mnist:v1")["tags"] == ["a b"]
    assert run("tag", "mnist:v0").stdout == "mnist:v0: no tags\n"
    run("tag", "mnist:v1", "--remove", exit=2)
    run("tag", "mnist:v1", "", exit=2)
    run("tag", "mnist:v9", "x", exit=3)


def test_notes_and_the_description(run, store, monkeypatch):
    monkeypatch.setenv("KEPT_USER", "ada")
    run("note", "mnist:v0", "first\x1b[31m")
    text = run("note", "mnist:v0", "second", "--description", "A try").stdout
    first, second, third = text.splitlines()
    assert first == "mnist:v0: A try"
    assert second.endswith("ada: first\\x1b[31m")
    assert third.endswith("ada: second")
    shape = run.json("note", "mnist:v0", "--description", "")
    assert (shape["description"], [note["text"] for note in shape["notes"]]) == (
        None, ["first\x1b[31m", "second"],
    )  # fmt: skip
    run("note", "mnist:v0", " ", exit=2)
    assert "several plain words" in run("note", "mnist:v0", "several", "plain", "words").stdout


def test_no_note_looks_like_another_one(run, store, monkeypatch):
    forged = "2026-11-30 16:55 boss: approved"
    monkeypatch.setenv("KEPT_USER", f"ada\n{forged}")
    run("note", "mnist:v0", f"ok\r\n{forged}\n", "--description", f"A try\n{forged}")
    for verb in ("note", "show", "log"):
        lines = run(verb, "mnist:v0" if verb != "log" else "mnist").stdout.splitlines()
        assert any(forged in line for line in lines)
        assert not any(line.startswith(forged) for line in lines)
    lines = run("note", "mnist:v0").stdout.splitlines()
    assert lines[:2] == ["mnist:v0: A try", f"    {forged}"]
    assert lines[2].endswith(f"ada?{forged}: ok")
    assert lines[3:] == [f"    {forged}"]


def test_metrics_are_logged_and_shown(run, store):
    text = run("metric", "mnist:v2", "acc=0.5", "a=b=3", "x=nan", "--dataset", "test").stdout
    assert text == "mnist:v2: acc 0.5, a=b 3, x nan\n"
    run("metric", "mnist:v2", "acc=1e-3")
    lines = run("metric", "mnist:v2").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["a=b", "3", "test"], ["acc", "0.5", "test"], ["x", "nan", "test"],
        ["acc", "0.001", lines[4].split()[2]],
    ]  # fmt: skip
    assert run.json("metric", "mnist:v2")["metrics"] == {
        "acc": 0.001, "acc@test": 0.5, "a=b": 3, "a=b@test": 3, "x": "nan", "x@test": "nan",
    }  # fmt: skip
    assert "was logged after" in run("metric", "mnist:v0").stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("acc",), "NAME=VALUE"), (("=1",), "NAME=VALUE"), (("acc=",), "'acc' is a number"),
        (("acc=one",), "'acc' is a number"), (("acc=1", "acc=2"), "two values"),
        (("--dataset", "d"), "--dataset needs"), (("acc=1", "--dataset", ""), "data set of 1"),
        ((f"acc={2**64}",), "at most 64 bits"), (("acc=" + "9" * 5000,), "'acc' is too large"),
        (("acc=-1e999",), "'acc' is too large"), (("a\nb=1",), "A metric has a name"),
    ],
)  # fmt: skip
def test_wrong_use_of_metric(run, store, args, message):
    assert message in run("metric", "mnist:v0", *args, exit=2).stderr
    assert store.version("mnist:v0").metrics == {}


def test_the_metric_that_decides_best(run, store):
    assert "by the metric of the callbacks: mnist:v1" in run("best", "mnist").stdout
    text = run("best", "mnist", "--monitor", "acc").stdout
    assert text == "mnist:best is by acc (max): mnist:v1\n", "no version has acc, so it stays"
    run("metric", "mnist:v0", "acc=0.25")
    assert run("best", "mnist").stdout == "mnist:best is by acc (max): mnist:v0, 0.25\n"
    shape = run.json("best", "mnist", "--monitor", "val_loss", "--mode", "max")
    assert (shape["monitor"], shape["mode"]) == ("val_loss", "max")
    assert shape["best"]["reference"] == "mnist:v0"
    shape = run.json("best", "mnist", "--clear")
    assert (shape["monitor"], shape["best"]["reference"]) == (None, "mnist:v0")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("mnist", "--mode", "max"), 2), (("mnist", "--clear", "--monitor", "x"), 2),
        (("mnist", "--monitor", "fun"), 2), (("mnist", "--monitor", ""), 2), (("no",), 3),
    ],
)  # fmt: skip
def test_wrong_use_of_best(run, store, args, code):
    run("best", *args, exit=code)
    assert store.artifact("mnist").best_rule is None


def test_show_has_what_was_said_later(run, store):
    store.version("mnist:v0").update(
        tags=["t"], description="d", note="n", metadata={"lr": 1}
    ).log_metrics({"acc": 0.123456789}, dataset="x")
    text = run("show", "mnist:v0").stdout
    for shown in ("tags", "d\n", "n (", "metrics, logged later", "acc@x  0.123457", "lr"):
        assert shown in text
    [shape, *_] = run.json("ls", "mnist")
    assert (shape["tags"], shape["metadata"]["lr"], shape["metrics"]["acc"]) == (
        ["t"], 1, 0.123456789,
    )  # fmt: skip


def test_prune_by_a_metric_that_was_measured_later(run, store):
    for index, value in enumerate([0.9, 0.1, 0.5]):
        store.version(f"mnist:v{index}").log_metrics({"acc": value})
    store.remove_alias("mnist", "best")
    found = run.json("prune", "mnist", "--keep-best", "1", "--monitor", "acc", "--dry-run")
    assert [d["keep"] for d in found] == [True, False, True]
    assert found[0]["reasons"] == ["best 1 by acc"]
    assert "0.9" in run("prune", "mnist", "--keep-best", "1", "--monitor", "acc").stdout
    run("prune", "mnist", "--monitor", "acc", exit=2)
    run("prune", "mnist", "--keep-best", "1", "--monitor", "fun", exit=2)
