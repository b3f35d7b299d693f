"""kept promote, rollback and protect."""

from __future__ import annotations

import json

import pytest


def test_a_promotion_says_from_where(run, store):
    assert run("promote", "mnist:v0", "prod").stdout == "mnist:prod is mnist:v0\n"
    text = run("promote", "mnist:v2", "prod", "--if", "epoch >= 2", "-m", "passed").stdout
    assert text == "mnist:prod is mnist:v2 (was mnist:v0)\n"
    shape = run.json("promote", "mnist:best", "prod")
    assert (shape["reference"], shape["alias"], shape["was"]) == ("mnist:v1", "prod", "mnist:v2")
    assert store.version("mnist:prod").index == 1


def test_a_condition_that_does_not_hold_has_an_exit_code_of_its_own(run, store):
    run("promote", "mnist:v0", "prod")
    failed = run("promote", "mnist:v1", "prod", "--if", "val_loss < 0.1", exit=5)
    assert failed.stdout == ""
    assert "so prod stays on mnist:v0. Found: val_loss = 0.25." in failed.stderr
    assert run("promote", "mnist:v1", "prod", "--from", "staging", exit=5).stdout == ""
    assert store.version("mnist:prod").index == 0
    assert run.json("promote", "mnist:v1", "prod", "--if", "val_loss < 0.3")["was"] == "mnist:v0"


@pytest.mark.parametrize(
    ("code", "args"),
    [
        (2, ("mnist:v1", "prod", "--if", "val_loss <")),
        (2, ("mnist:v1", "epoch_9")),
        (2, ("mnist:v1", "latest")),
        (2, ("mnist:v1",)),
        (3, ("mnist:v9", "prod")),
        (3, ("mnist", "prod", "--from", "nope")),
        (3, ("other", "prod")),
    ],
)
def test_wrong_use_moves_nothing(run, store, code, args):
    head = store.log("mnist").view().head
    run("promote", *args, exit=code)
    assert store.log("mnist").view().head == head


def test_rollbacks_name_what_they_pass_over(run, store):
    for n in range(3):
        run("promote", f"mnist:v{n}", "prod")
    store.delete("mnist:v1", force=True)
    text = run("rollback", "mnist:prod", "--message", "slow").stdout
    assert text == "mnist:prod is mnist:v0 (was mnist:v2)\nPassed over, because deleted: mnist:v1\n"
    assert "no earlier version" in run("rollback", "mnist:prod", exit=3).stderr
    run("promote", "mnist:v2", "prod")
    shape = run.json("rollback", "mnist:prod")
    assert (shape["reference"], shape["was"]) == ("mnist:v0", "mnist:v2")
    for wrong in ("mnist", "mnist:v1", "mnist:epoch_1"):
        run("rollback", wrong, exit=2)


def test_protected_aliases(run, store):
    assert "kept protect ALIAS" in run("protect").stdout
    run("alias", "mnist:v0", "prod")
    assert run("protect", "prod", "champion").stdout.startswith("Protected: prod, champion.")
    assert "prod" in run("protect").stdout
    assert [each["alias"] for each in run.json("protect")] == ["champion", "prod"]
    for refused in (
        ("alias", "mnist:v1", "prod"),
        ("alias", "--remove", "mnist:prod"),
        ("rm", "mnist:v0", "--force", "-y"),
    ):
        assert "protected" in run(*refused, exit=1).stderr
    assert run.json("protect", "--remove", "champion") == {"protected": ["prod"]}
    run("protect", "--remove", "prod")
    assert "not protected" in run("protect", "--remove", "prod", exit=3).stderr
    run("alias", "mnist:v1", "prod")
    run("protect", "best", exit=2)
    run("protect", "--remove", exit=2)


def test_put_takes_no_alias_of_callbacks_and_no_protected_one(run, store, tmp_path):
    (tmp_path / "f").write_text("x")
    store.protect("prod")
    assert "by hand" in run("put", "m", "f", "-a", "epoch_3", exit=2).stderr
    assert "Leave it out" in run("put", "m", "f", "-a", "latest", exit=2).stderr
    assert "kept promote m:vN prod" in run("put", "m", "f", "-a", "prod", exit=1).stderr
    assert [artifact.name for artifact in store.artifacts()] == ["mnist"]


class TestLog:
    def test_of_an_artifact(self, run, store, monkeypatch):
        monkeypatch.setenv("KEPT_USER", "ann")
        run("promote", "mnist:v0", "prod", "--message", "first")
        run("promote", "mnist:v1", "prod")
        run("rollback", "mnist:prod")
        lines = run("log", "mnist").stdout.splitlines()
        assert lines[0].split() == ["time", "by", "what"]
        assert [line.split(maxsplit=3)[2:] for line in lines[1:4]] == [
            ["ann", "prod rolled back to v0 (was v1)"],
            ["ann", "prod promoted to v1 (was v0)"],
            ["ann", "prod promoted to v0: first"],
        ]
        assert lines[4].endswith("v2 committed, 1.0 kB, epoch_2")
        assert lines[5].endswith("v1 committed, 1.0 kB, epoch_1, best")

    def test_of_the_store_with_a_limit(self, run, store, tmp_path):
        run("promote", "mnist:v0", "prod")
        run("protect", "prod")
        result = run("log", "-n", "2")
        assert [line.split()[2] for line in result.stdout.splitlines()[1:]] == ["all", "mnist"]
        assert result.stderr == ""

    def test_more_than_usual_is_said(self, run, store):
        for n in range(60):
            store.set_alias(f"mnist:v{n % 3}", "x")
        result = run("log")
        assert len(result.stdout.splitlines()) == 51
        assert "--limit N" in result.stderr
        assert len(run.json("log")) == 63

    def test_as_json(self, run, store):
        run("promote", "mnist:v0", "prod", "--if", "epoch = 0")
        [change] = run.json("log", "mnist", "--limit", "1")
        assert change["details"] == {"alias": "prod", "version": 0, "was": None, "if": "epoch = 0"}
        assert change["action"] == "promote"

    def test_wrong_use(self, run, store):
        run("log", "other", exit=3)
        run("log", "--limit", "0", exit=2)

    def test_of_an_empty_store(self, run, tmp_path):
        import kept

        kept.open_store().create()
        assert run("log").stdout == "Nothing has changed yet.\n"
        assert json.loads(run("log", "--json").stdout) == []


def test_protect_checks_all_names_first(run, store):
    marker = store.bucket.get("kept.json")
    run("protect", "prod", "best", exit=2)
    assert store.protected() == []
    assert store.bucket.get("kept.json") == marker
    run("protect", "prod", "live")
    run("protect", "--remove", "prod", "other", exit=3)
    assert store.protected() == ["live", "prod"]
    run("protect", "--remove", "prod", "live")
    assert store.protected() == []


def test_refusals_of_a_protected_alias_suggest_what_works(run, store):
    run("promote", "mnist:v0", "prod")
    run("protect", "prod")
    deletion = run("rm", "mnist:v0", exit=1).stderr
    assert "--force" not in deletion
    assert "kept protect --remove prod" in deletion
    removal = run("alias", "--remove", "mnist:prod", exit=1).stderr
    assert "kept promote" not in removal
    assert "kept protect --remove prod" in removal
    assert "kept protect --remove" in run("rm", "--artifact", "mnist", exit=1).stderr
