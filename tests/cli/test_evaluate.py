"""kept evaluate."""

from __future__ import annotations

import subprocess
import sys

import pytest

import kept

SIZE = """
import json, os
print("reading", os.environ["KEPT_REFERENCE"])
print(json.dumps({"size": os.path.getsize(os.environ["KEPT_CHECKPOINT"])}))
"""
FAILS = """
import os, sys
if os.environ["KEPT_REFERENCE"].endswith("v1"):
    sys.exit("broken")
print('{"a": 1}')
"""


def python(code):
    return ("--", sys.executable, "-c", code)


def test_the_newest_version(run, store):
    result = run("evaluate", "mnist", "--name", "size", *python(SIZE))
    assert result.stdout.splitlines()[1].split() == ["mnist:v2", "evaluated", "size", "1002"]
    assert result.stderr == "Evaluating mnist:v2\nreading mnist:v2\n"
    again = run("evaluate", "mnist:latest", "--name", "size", *python("1/0"))
    assert again.stdout.splitlines()[1].split() == ["mnist:v2", "skipped", "size", "1002"]
    assert again.stderr == ""
    assert store.version("mnist:v2").metrics == {"size": 1002}
    assert store.version("mnist:v1").metrics == {}


def test_all_versions_and_all_artifacts(run, store):
    store.log_artifact("mnist-2", kept.MemoryFile("m.keras", [b"x"]), aliases=["prod"])
    args = ("evaluate", "mnist*", "--all", "--name", "size", "--dataset", "d", "--json")
    found = run(*args, *python(SIZE)).stdout
    assert found.count('"evaluated"') == 4
    assert store.version("mnist:v0").metrics == {"size": 1000, "size@d": 1000}
    assert run(*args, *python(SIZE)).stdout.count('"skipped"') == 4
    found = run("evaluate", "mnist*:prod", "--name", "x", *python("print('{\"a\": 1}')")).stdout
    assert found.splitlines()[1].split() == ["mnist-2:v0", "evaluated", "a", "1"]
    assert len(found.splitlines()) == 2


def test_a_command_that_fails(run, store):
    result = run("evaluate", "mnist:v1", "--name", "x", *python(FAILS), exit=1)
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == (
        "Error: x of mnist:v1: The command failed with exit code 1. Its last lines: broken"
    )
    result = run("evaluate", "mnist", "--all", "--name", "x", *python(FAILS), exit=1)
    assert [line.split()[1] for line in result.stdout.splitlines()[1:]] == [
        "evaluated", "failed", "evaluated",
    ]  # fmt: skip
    assert result.stderr.endswith("Error: 1 of 3 evaluations failed.\n")
    assert [v.metrics for v in store.versions("mnist")] == [{"a": 1}, {}, {"a": 1}]
    run("evaluate", "mnist", "--all", "--name", "x", *python("print('{\"a\": 2}')"))
    assert [v.metrics["a"] for v in store.versions("mnist")] == [1, 2, 1], "only what is left"
    run("evaluate", "mnist:v0", "--name", "x", "--force", *python("print('{\"a\": 3}')"))
    assert store.version("mnist:v0").metrics == {"a": 3}


def test_a_version_that_a_rule_deletes_meanwhile_is_no_failure(run, store, tmp_path):
    """The command for v0 deletes v1, as keep= of a run may."""
    code = f"""
import os, kept
store = kept.open_store({store.location!r})
if os.environ["KEPT_REFERENCE"] == "mnist:v0":
    store.delete("mnist:v1", force=True)
print('{{"a": 1}}')
"""
    result = run("evaluate", "mnist", "--all", "--name", "x", *python(code))
    assert [line.split()[1] for line in result.stdout.splitlines()[1:]] == [
        "evaluated", "deleted", "evaluated",
    ]  # fmt: skip
    assert "Error" not in result.stderr


def test_a_damaged_version_is_not_evaluated(run, damaged, store):
    run("evaluate", damaged, "--name", "x", *python(SIZE), exit=4)
    assert store.version(damaged).metrics == {}


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("mnist", "--name", "x"), 2, "Write it after --"),
        (("mnist", "--", "true"), 2, "--name"),
        (("mnist", "--name", "", "--", "true"), 2, "An evaluation has a name"),
        (("mnist:v1", "--all", "--name", "x", "--", "true"), 2, "--all takes names"),
        (("mnist", "--name", "x", "--timeout", "soon", "--", "true"), 2, "--timeout is a time"),
        (("mnist", "--name", "x", "--", "no-such-program"), 1, "'no-such-program' is no program"),
        (("no", "--name", "x", "--", "true"), 3, "No artifact 'no'"),
        (("no*", "--name", "x", "--", "true"), 3, "matches 'no*'"),
        (("mnist:no", "--name", "x", "--", "true"), 3, "has no 'no'"),
    ],
)
def test_wrong_use(run, store, args, code, message):
    assert message in run("evaluate", *args, exit=code).stderr


def test_the_story_of_a_test_metric(run, store):
    """Each version is measured by a command, and the best one by that gets the alias."""
    run("best", "mnist", "--monitor", "size", "--mode", "max")
    run("evaluate", "mnist", "--all", "--name", "size", *python(SIZE))
    assert store.version("mnist:best").index == 2
    store.log_artifact("mnist", kept.MemoryFile("model.keras", [bytes(5000)]))
    assert store.version("mnist:best").index == 2, "not measured yet"
    run("evaluate", "mnist", "--all", "--name", "size", *python(SIZE))
    assert store.version("mnist:best").index == 3


def test_two_commands_at_once_and_one_that_was_killed(run, store, tmp_path):
    """Each version gets one result, of the first process; others do what a killed one has left."""
    command = [sys.executable, "-m", "kept", "evaluate", "mnist", "--all", "--name", "size"]
    slow = "import time; time.sleep(60)"
    first = subprocess.Popen(
        [*command, *python(slow)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert first.stderr.readline() == b"Evaluating mnist:v0\n"
    first.kill()
    first.wait()
    first.stderr.close()
    jobs = [
        subprocess.Popen([*command, *python(SIZE)], stdout=subprocess.DEVNULL, cwd=tmp_path)
        for _ in range(2)
    ]
    assert [job.wait(60) for job in jobs] == [0, 0]
    for version in store.versions("mnist"):
        assert [each.value for each in version.record.changes.logged] == [1000 + version.index]


def test_a_store_in_object_storage(run, s3, tmp_path):
    store = kept.open_store(s3)
    store.log_artifact("m", kept.MemoryFile("m.keras", [b"abc"]), metadata={"metrics": {"a": 1}})
    run("--store", s3, "best", "m", "--monitor", "size", "--mode", "min")
    run("--store", s3, "evaluate", "m", "--name", "size", *python(SIZE))
    run("--store", s3, "tag", "m", "t")
    version = kept.open_store(s3).version("m:best")
    assert (version.metrics, version.tags) == ({"size": 3}, ("t",))
