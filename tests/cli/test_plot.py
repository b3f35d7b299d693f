"""kept plot, and kept ls NAME --plot."""

import json
import sys

import pytest

import kept
from kept.cli import plot as module


@pytest.fixture
def runs(store):
    """Two more artifacts, with two metrics of different sizes and epochs."""
    for name in ("run_a", "run_b"):
        for epoch in range(4):
            metrics = {"loss": 1 / (epoch + 1), "lr": 1e-4 / (epoch + 1)}
            metadata = {"epoch": epoch, "metrics": metrics}
            file = kept.MemoryFile("f", [f"{name} {epoch}".encode()])
            store.log_artifact(name, file, metadata=metadata, capture=False)
    return store


def test_the_chart_of_an_artifact_marks_its_best_version(run, store):
    shown = run("plot", "mnist").stdout
    assert shown.startswith("● val_loss\n★ best v1 0.25 (epoch 1)\n")
    assert "epoch" in shown.splitlines()[-1]
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_axes_can_be_chosen(run, store):
    assert run("plot", "mnist", "--by", "version").stdout.rstrip().endswith("version")
    assert run("plot", "mnist", "--by", "time").stdout.rstrip().endswith("time")
    assert "0.2" in run("plot", "mnist", "--log").stdout


def test_metrics_of_different_sizes_get_a_chart_each(run, runs):
    shown = run("plot", "run_a", "-m", "loss", "-m", "lr").stdout
    assert shown.count("┌") == 2
    assert run("plot", "run_a", "-m", "loss", "-m", "lr", "--log").stdout.count("┌") == 1


def test_artifacts_and_globs_share_a_chart(run, runs):
    shown = run("plot", "run_*", "-m", "loss").stdout
    assert shown.splitlines()[0] == "● run_a   ■ run_b"
    assert run("plot", "run_b", "run_*", "-m", "loss").stdout.startswith("● run_b   ■ run_a")


def test_a_file_is_svg_png_or_a_specification(run, store, tmp_path):
    for suffix, start in ((".svg", b"<svg"), (".PNG", b"\x89PNG"), (".json", b"{")):
        assert run("plot", "mnist", "--out", f"chart{suffix}").stderr == f"Wrote chart{suffix}.\n"
        assert (tmp_path / f"chart{suffix}").read_bytes().startswith(start)
    spec = json.loads((tmp_path / "chart.json").read_text())
    assert "vega-lite" in spec["$schema"]
    run("plot", "mnist", "--out", "dark.json", "--dark")
    dark = json.loads((tmp_path / "dark.json").read_text())
    assert dark["config"]["title"]["color"] != spec["config"]["title"]["color"]


def test_json_is_the_specification_or_the_file(run, store, tmp_path):
    out = str(tmp_path / "chart.json")
    assert json.loads(run("plot", "mnist", "--json", "--out", out).stdout) == {"file": out}
    with open(out) as file:
        assert json.load(file) == json.loads(run("plot", "mnist", "--json").stdout)


def test_a_file_of_several_charts_has_them_below_each_other(run, runs, tmp_path):
    run("plot", "run_a", "-m", "loss", "-m", "lr", "--out", "x.json")
    assert len(json.loads((tmp_path / "x.json").read_text())["vconcat"]) == 2
    run("plot", "run_a", "-m", "loss", "-m", "lr", "--out", "x.svg")
    assert b">lr</text>" in (tmp_path / "x.svg").read_bytes()


ERRORS = [
    (["mnist", "-m", "val_los"], 2, "Did you mean val_loss? Existing: val_loss."),
    (["plain"], 2, "plain: no version has a metric."),
    (["nothing"], 3, "No artifact 'nothing'"),
    (["no*"], 2, "No artifact fits 'no*'"),
    (["mnist", "--out", "x.gif"], 2, "--out takes a file that ends with .svg, .png or .json"),
    (["mnist", "--dark"], 2, "--dark is for a file: add --out FILE."),
    (["mnist", "--out", "missing/x.svg"], 1, "missing/x.svg"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "message"), ERRORS)
def test_errors_say_what_to_do(run, store, arguments, code, message):
    store.log_artifact("plain", kept.MemoryFile("f", [b"x"]), capture=False)
    result = run("plot", *arguments, exit=code)
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(("package", "more"), [("plotext", []), ("vl_convert", ["--out", "x.svg"])])
def test_a_missing_package_is_named(run, store, monkeypatch, package, more):
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'kept[plot]'" in run("plot", "mnist", *more, exit=2).stderr


def test_ls_draws_a_chart_below_the_versions(run, store):
    shown = run("ls", "mnist", "--plot").stdout
    assert shown.index("version") < shown.index("★ best v1 0.25 (epoch 1)")
    assert "┌" in shown
    for arguments in (["--plot"], ["mnist", "--plot", "--json"], ["mn*", "--plot"]):
        assert "kept ls NAME --plot" in run("ls", *arguments, exit=2).stderr


def test_without_unicode_the_chart_is_ascii(run, store, monkeypatch):
    monkeypatch.setattr(module, "_takes", lambda _: False)
    assert run("plot", "mnist").stdout.isascii()
