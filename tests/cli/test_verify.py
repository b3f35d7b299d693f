"""kept verify."""

from __future__ import annotations


def test_a_sound_store(run, store):
    assert run("verify").stdout == "3 versions, 3.0 kB read: no damage\n"
    assert run("verify", "mnist:best").stdout == "1 version, 1.0 kB read: no damage\n"
    assert run.json("verify") == {
        "ok": True, "versions": 3, "chunks": 3, "bytes": 3003, "problems": [],
    }  # fmt: skip


def test_damage_names_the_version(run, damaged):
    problem, summary = run("verify", exit=4).stdout.splitlines()
    assert problem.startswith(f"{damaged}: ")
    assert summary == "3 versions, 3.0 kB read: 1 problem"
    report = run.json("verify", damaged, exit=4)
    assert (report["ok"], report["versions"]) == (False, 1)
    assert [item["where"] for item in report["problems"]] == [damaged]
    run("verify", "mnist:v0")
