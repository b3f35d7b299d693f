"""kept ls, and what it shares with kept show."""

from __future__ import annotations

import json
import re

import pytest

from kept.cli.ls import _some_aliases
from kept.cli.output import print_json_list
from kept.store.log.overview import summaries


def test_versions_as_json_are_a_list_oldest_first(run, store):
    listed = run.json("ls", "mnist")
    assert [item["version"] for item in listed] == ["v0", "v1", "v2"]
    version = store.version("mnist:v2")
    assert listed[2] == {
        "name": "mnist",
        "version": "v2",
        "index": 2,
        "type": "model",
        "reference": "mnist:v2",
        "aliases": ["latest", "epoch_2"],
        "metadata": {"epoch": 2, "monitor": "val_loss", "value": 0.5 / 3},
        "metrics": {},
        "tags": [],
        "description": None,
        "notes": [],
        "size": 1002,
        "digest": version.digest,
        "created_at": version.record.created_at,
    }
    assert listed[1]["aliases"] == ["best", "epoch_1"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", listed[0]["created_at"])


def test_json_has_a_line_for_each_version(run, store):
    first, *lines, last = run("ls", "mnist", "--json").stdout.splitlines()
    assert (first, last) == ("[", "]")
    assert [json.loads(line.rstrip(","))["index"] for line in lines] == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 256, 257])
def test_json_of_many_versions_is_whole(capsys, count):
    print_json_list({"index": index} for index in reversed(range(count)))
    printed = capsys.readouterr().out
    assert json.loads(printed) == [{"index": index} for index in range(count)]
    assert printed.count("\n") == (count + 2 if count else 1)


def test_artifacts_as_json(run, store):
    [artifact] = run.json("ls")
    assert artifact == {
        "name": "mnist",
        "type": "model",
        "versions": 3,
        "latest": "v2",
        "size": 1002,
        "created_at": store.version("mnist").record.created_at,
        "aliases": {
            "epoch_0": "v0",
            "best": "v1",
            "epoch_1": "v1",
            "latest": "v2",
            "epoch_2": "v2",
        },
    }


def test_versions_as_text(run, store):
    heading, *rows = run("ls", "mnist").stdout.splitlines()
    assert heading.split() == ["version", "aliases", "val_loss", "size", "created", "digest"]
    assert [row.split()[0] for row in rows] == ["v0", "v1", "v2"]
    digest = store.version("mnist:v1").digest[:10]
    assert re.fullmatch(
        rf"v1 +best, epoch_1 +0\.25 +1\.0 kB  \d{{4}}-\d\d-\d\d \d\d:\d\d  {digest}", rows[1]
    )


def test_artifacts_as_text_are_not_cut(run, store):
    long = "x" * 128
    run("put", long, __file__, "--alias", "prod")
    heading, first, second = run("ls").stdout.splitlines()
    assert heading.split() == ["name", "type", "versions", "newest", "size", "aliases"]
    assert first.split() == ["mnist", "model", "3", "v2", "1.0", "kB", "best=v1"]
    assert second.startswith(f"{long}  model         1  v0 ")
    assert second.endswith("prod=v0")


def test_times_are_local(run, store, monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    utc = store.version("mnist:v0").record.created_at
    assert utc[:16].replace("T", " ") in run("show", "mnist:v0").stdout
    monkeypatch.setenv("TZ", "XXX-05:30")
    time.tzset()
    assert utc[:16].replace("T", " ") not in run("show", "mnist:v0").stdout
    monkeypatch.undo()
    time.tzset()


def test_the_aliases_of_epochs_do_not_crowd_out_the_others(store):
    for name in "abcde":
        store.set_alias("mnist:v0", name)
    assert (
        _some_aliases(dict(summaries(store.logs))["mnist"].aliases)
        == "best=v1, a=v0, b=v0, c=v0, …"
    )


def test_versions_without_a_metric_have_no_column_for_it(run):
    run("put", "m", __file__)
    assert "value" not in run("ls", "m").stdout


@pytest.mark.parametrize(("value", "shown"), [("nan", "nan"), (None, ""), ([1], "[1]"), (3, "3")])
def test_what_other_programs_call_value_is_shown(run, store, value, shown):
    store.log_artifact("mnist", __file__, metadata={"monitor": "acc", "value": value})
    last = run("ls", "mnist").stdout.splitlines()[-1]
    assert (f"acc {shown}" if value is not None else "latest  ") in last


def test_a_monitor_that_is_no_text_is_ignored(run, store):
    store.log_artifact("mnist", __file__, metadata={"monitor": {"a": 1}, "value": 1})
    assert "val_loss" in run("ls", "mnist").stdout


WILD = "[red]\x1b[31mx[/red]\n[/]"


def test_metadata_is_neither_markup_nor_commands_to_the_terminal(run, store):
    store.log_artifact("mnist", __file__, metadata={WILD: WILD, "monitor": WILD, "value": WILD})
    for command in (("show", "mnist"), ("ls", "mnist")):
        text = run(*command).stdout
        assert r"[red]\x1b[31mx[/red]\n[/]" in text
        assert "\x1b" not in text
    assert run.json("show", "mnist")["metadata"][WILD] == WILD


def test_nothing_to_list_is_reported_on_stderr(run, store):
    for version in store.versions("mnist"):
        store.delete(version.reference, force=True)
    result = run("ls", "mnist")
    assert (result.stdout, result.stderr) == ("", "mnist has no versions: all were deleted.\n")
    assert run.json("ls", "mnist") == []
    assert run.json("ls") == []
    assert "To see 1 removed one: kept ls --all" in run("ls").stderr
    [artifact] = run.json("ls", "--all")
    assert (artifact["versions"], artifact["latest"], artifact["size"]) == (0, None, None)
    assert run("ls", "--all").stdout.splitlines()[1].split() == ["mnist", "model", "0"]


def test_a_folder_that_a_writer_has_just_made_is_no_artifact_yet(run, store, tmp_path):
    (tmp_path / "kept-store/artifacts/new/log").mkdir(parents=True)
    assert [item["name"] for item in run.json("ls")] == ["mnist"]
