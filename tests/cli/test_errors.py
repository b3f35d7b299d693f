"""The message and the exit code of every kind of error."""

from __future__ import annotations

import json
import os

import click
import pytest

import kept


def test_a_damaged_record_is_damage_to_every_command(run, store):
    record = f"{store.location}/artifacts/mnist/log/{2:020d}.json"
    with open(record, "r+b") as file:
        file.seek(100)
        file.write(b"#")
    run("get", "mnist:v0")  # damage stays where it is
    assert "may move the aliases" in run("show", "mnist:v0", exit=4).stderr
    for command in (("ls",), ("ls", "mnist"), ("show", "mnist:v1"), ("get", "mnist:v1"), ("du",)):
        assert "damaged" in run(*command, exit=4).stderr
    assert "mnist: " in run("verify", exit=4).stdout


COMMANDS = {
    "ls": (), "show": ("m",), "get": ("m",), "alias": ("m", "x"), "rm": ("m",), "verify": (),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_no_store(run, command, as_json, tmp_path):
    result = run(command, *COMMANDS[command], *as_json, exit=3)
    assert result.stdout == ""
    assert str(tmp_path / "kept-store") in result.stderr
    assert "kept put" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_missing_artifact(run, store):
    for args in (("ls", "nope"), ("show", "nope:v1"), ("verify", "nope")):
        assert "Existing artifacts: mnist." in run(*args, exit=3).stderr


def test_a_missing_version(run, store):
    assert "3 versions, v0 to v2" in run("show", "mnist:v9", exit=3).stderr


@pytest.mark.parametrize("args", [("show", "mnist:"), ("ls", "a b"), ("show", "m@xyz")])
def test_input_that_cannot_be_used(run, store, args):
    message = run(*args, exit=2).stderr
    assert message.startswith("Error: ")
    assert message.count("\n") == 1


def test_other_errors(run, tmp_path):
    (tmp_path / "kept-store").mkdir()
    (tmp_path / "kept-store/photo.jpg").write_text("")
    assert "photo.jpg" in run("ls", exit=1).stderr
    assert "ftp" in run("--store", "ftp://host", "ls", exit=2).stderr


def test_an_error_of_the_system_is_one_line(run, store, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "a\x1b/b")

    monkeypatch.setattr(kept.Store, "log_artifact", full)
    result = run("put", "m", __file__, exit=1)
    assert result.stderr == "Error: No space left on device: a\\x1b/b\n"


def test_interrupted(run, store, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(kept.Store, "verify", interrupted)
    assert run("verify", exit=130).stderr == "Interrupted.\n"


def test_where_the_store_is(run, store, tmp_path, monkeypatch):
    elsewhere = str(tmp_path / "elsewhere")
    os.rename("kept-store", elsewhere)
    assert run("--store", elsewhere, "ls", "mnist").stdout
    assert run("--store", f"file://{elsewhere}", "ls", "mnist").stdout
    monkeypatch.setenv("KEPT_STORE", elsewhere)
    assert run("ls", "mnist").stdout
    monkeypatch.setenv("KEPT_STORE", str(tmp_path / "nothing"))
    assert run("--store", elsewhere, "ls", "mnist").stdout
    assert str(tmp_path / "nothing") in run("ls", "mnist", exit=3).stderr


def test_an_artifact_without_a_readable_version_is_listed(run, tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    run("put", "only", str(tmp_path / "x"))
    record = f"kept-store/artifacts/only/log/{1:020d}.json"
    with open(record, "wb"):
        pass
    listed = run("ls", exit=4)
    assert "only" in listed.stdout
    assert record.removeprefix("kept-store/") in listed.stderr
    [shape] = json.loads(run("ls", "--json", exit=4).stdout)
    assert (shape["name"], shape["type"], shape["versions"]) == ("only", None, 0)


def error_of(result) -> dict[str, object]:
    """The error that a command with --json printed on the last line of stderr."""
    return json.loads(result.stderr.splitlines()[-1])["error"]


@pytest.mark.parametrize(
    ("args", "code", "kind", "said"),
    [
        (("ls", "nope"), 3, "ArtifactNotFound", "Existing artifacts: mnist."),
        (("show", "a b"), 2, "InvalidReference", "Received: 'a b'"),
        (("rm", "mnist:v1"), 1, "VersionInUse", "best"),
        (("--store", "none", "ls"), 3, "NoStore", "There is no store in"),
        (("show",), 2, "UsageError", "Missing argument 'REF'"),
        (("shw",), 2, "UsageError", "Did you mean 'kept show'?"),
        (("ls", "--xyz"), 2, "UsageError", "No such option: --xyz."),
        (("--xyz", "ls"), 2, "UsageError", "No such option: --xyz."),
        (("alias", "mnist:v0"), 2, "UsageError", "kept alias REF ALIAS"),
    ],
)
def test_an_error_as_json(run, store, args, code, kind, said):
    result = run(*args, "--json", exit=code)
    assert result.stdout == ""
    error = error_of(result)
    assert said in error.pop("message")
    assert error == {"type": kind, "exit_code": code, "damage": []}


def test_damage_as_json_follows_the_document(run, store):
    record = f"{store.location}/artifacts/mnist/log/{2:020d}.json"
    with open(record, "r+b") as file:
        file.seek(100)
        file.write(b"#")
    result = run("ls", "mnist", "--json", exit=4)
    assert len(json.loads(result.stdout)) == 2
    error = error_of(result)
    assert error["type"] == "Damaged"
    assert error["exit_code"] == 4
    assert error["damage"] == [error["message"]]
    assert "mnist" in error["message"]
    lost = error_of(run("show", "mnist:prod", "--json", exit=4))
    assert lost["type"] == "Damaged"


def test_an_interruption_as_json(run, store, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(kept.Store, "verify", interrupted)
    error = error_of(run("verify", "--json", exit=130))
    assert (error["type"], error["exit_code"]) == ("Interrupted", 130)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_question_that_is_answered_with_no(run, store, monkeypatch, as_json):
    def refused(*_, **__):
        raise click.Abort

    monkeypatch.setattr("kept.cli.rm.confirm", refused)
    result = run("rm", "mnist:v2", *(["--json"] if as_json else []), exit=1)
    assert result.stdout == ""
    if as_json:
        assert (error_of(result)["type"], error_of(result)["exit_code"]) == ("Aborted", 1)
    else:
        assert result.stderr == "Aborted!\n"
    assert store.version("mnist:v2").index == 2


def test_json_of_another_command_is_not_ours(run):
    assert run("lst", "--", "--json", exit=2).stderr.startswith("Usage: ")


def test_an_error_as_json_steers_no_terminal(run, store):
    assert "\x1b" not in run("show", "\x1b[2J\x7f", "--json", exit=2).stderr
