"""kept du."""

from __future__ import annotations


def test_du_adds_up_to_what_is_on_the_disk(run, trained):
    for _ in range(2):
        found = run.json("du", "m")
        held = [i.size for kind in ("blobs/", "manifests/") for i in trained.bucket.items(kind)]
        assert found["stored"] == sum(held)
        assert found["logical"] == sum(version.size for version in trained.versions("m"))
        assert found["saved"]["dedup"] > 2 * 1_200_000
        saved = sum(found["saved"].values())
        assert found["logical"] + found["overhead"] == found["stored"] + saved
        run("compact")
    assert found["saved"]["deltas"] > 0 < found["saved"]["compression"]
    assert "saved by differences" in run("du").stdout
    assert run("du", "nothing", exit=3)


def test_deleting_a_version_frees_what_du_says(run, trained):
    run("compact")
    frees = {v["reference"]: v["frees"] for v in run.json("du")["versions"]}
    before = run.json("du")["stored"]
    trained.delete("m:v2")
    assert before - run.json("du")["stored"] == frees["m:v2"] > 0
    assert run.json("du")["deleted"] == frees["m:v2"]
    assert "deleted, until kept gc" in run("du", "m").stdout
