"""kept show."""

from __future__ import annotations


def test_a_version_as_json_has_its_files(run, store):
    shown = run.json("show", "mnist:best")
    assert shown.pop("files") == [{"path": "model.keras", "size": 1001}]
    assert [shown.pop(key) for key in ("parent", "uses")] == [None, []]
    assert shown.pop("provenance")["packages"]
    assert shown == run.json("ls", "mnist")[1]


def test_a_version_as_text_shows_all(run, store):
    store.log_artifact("mnist", __file__, metadata={"metrics": {"loss": 0.123456789}, "none": {}})
    lines = [line.strip() for line in run("show", "mnist").stdout.splitlines()]
    assert lines[0] == "mnist:v3"
    for expected in (
        "type     model",
        "aliases  latest",
        "metrics.loss  0.123456789",
        "none          {}",
        f"digest   {store.version('mnist').digest}",
    ):
        assert expected in lines
    assert lines[-1].startswith("test_show.py  ")
