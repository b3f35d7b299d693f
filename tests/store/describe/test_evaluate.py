"""A command measures versions: what it gets, what is logged, and how it fails."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time

import pytest

import kept
from kept.errors import CommandFailed, InvalidInput, VersionNotFound
from kept.store.describe.command import Command
from kept.store.describe.evaluate import Evaluation, checkpoint_in
from tests.helpers import start

SHOWN = """
import json, os, pathlib
file = pathlib.Path(os.environ["KEPT_CHECKPOINT"])
print("working on", os.environ["KEPT_REFERENCE"])
print(json.dumps({"size": file.stat().st_size}))
"""


@pytest.fixture
def versions(store):
    for n in range(3):
        store.log_artifact("m", kept.MemoryFile("m.keras", [b"x" * (n + 1)]))
    return store.versions("m")


def python(code, seconds=None):
    return Command((sys.executable, "-c", code), seconds)


def evaluate(version, command, to=None, **options):
    log = version.store.log(version.name)
    evaluation = Evaluation("test", command, **options)
    return evaluation.of(log, version, version.store.location, to or io.StringIO())


def test_the_metrics_are_logged_once(store, versions):
    to = io.StringIO()
    first = evaluate(versions[1], python(SHOWN), to, dataset="d")
    assert (first.metrics, first.is_new) == ({"size": 2}, True)
    assert to.getvalue() == "working on m:v1\n"
    again = evaluate(versions[1], python("raise SystemExit(1)"))
    assert (again.metrics, again.is_new) == ({"size": 2}, False)
    found = store.version("m:v1")
    assert found.metrics == {"size": 2, "size@d": 2}
    assert found.record.changes.evaluated("test") == {"size": 2}


def test_a_listed_version_that_is_done_costs_no_look_at_the_log(store, versions):
    evaluate(versions[1], python(SHOWN))
    evaluation = Evaluation("test", python("raise SystemExit(1)"))
    outcome = evaluation.of(None, store.version("m:v1"), store.location, io.StringIO())
    assert (outcome.metrics, outcome.is_new) == ({"size": 2}, False)


def test_force_measures_again(versions):
    evaluate(versions[0], python("print('{\"a\": 1}')"))
    forced = evaluate(versions[0], python("print('{\"a\": 2}')"), force=True)
    assert (forced.metrics, forced.is_new) == ({"a": 2}, True)
    assert versions[0].store.version("m:v0").metrics == {"a": 2}


def test_the_last_object_of_numbers_counts_and_the_rest_is_passed_on(versions):
    to = io.StringIO()
    code = """
import sys
print('{"a": 1}')
print('  {"a": 2, "b": NaN}  ')
print('{"a": "text"}')
print('[1]')
print('{"half": ')
print("end", end="")
print("err", file=sys.stderr)
print('{"other": 1}', file=sys.stderr)
"""
    assert evaluate(versions[0], python(code), to).metrics == {"a": 2, "b": "nan"}
    lines = to.getvalue()
    for shown in ('{"a": 1}\n', '{"a": "text"}\n', "[1]\n", "end", "err\n", '{"other": 1}\n'):
        assert shown in lines
    assert '"b"' not in lines


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('{\"a\": 1}'); raise SystemExit(3)", r"test of m:v0: .* failed with exit code 3\."),
        ("import sys; sys.exit('no data')", r"exit code 1\. Its last lines: no data"),
        ("pass", "printed no metrics.* It printed nothing"),
        ('print(\'{"a": true, "b": 1}\')', "One line has {'a': True}"),
        ("print('{}'); print('{\"a\": [1]}')", "printed no metrics"),
        ("print('{\"a\": %s}' % 2**70)", "'a', 72 bits"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("for n in range(9): print('line', n)", "line 4 | line 5 | line 6 | line 7 | line 8"),
    ],
)
def test_a_command_that_fails(store, versions, code, message):
    with pytest.raises(CommandFailed, match=message):
        evaluate(versions[0], python(code))
    assert store.version("m:v0").metrics == {}
    assert store.log("m").view().head == 3, "nothing is logged"


def test_a_command_that_is_missing(versions):
    with pytest.raises(CommandFailed, match=r"cannot be started: .*no-such"):
        evaluate(versions[0], Command(("/no-such",)))


def test_a_time_limit_ends_all_that_the_command_has_started(versions, tmp_path):
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
time.sleep(60)
"""
    with pytest.raises(CommandFailed, match="after 2 seconds, its time limit"):
        evaluate(versions[0], python(code, 2.0))
    pid = int((tmp_path / "pid").read_text())
    for _ in range(500):
        if not _lives(pid):
            break
        time.sleep(0.02)
    assert not _lives(pid)


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_temporary_folder_is_removed(versions):
    code = """
import os
print(os.environ["KEPT_FOLDER"])
print(os.listdir(os.environ["KEPT_FOLDER"]))
print('{"a": 1}')
"""
    to = io.StringIO()
    evaluate(versions[0], python(code), to)
    folder, files = to.getvalue().splitlines()
    assert files == "['m.keras']"
    assert not os.path.exists(os.path.dirname(folder))


def test_the_environment(versions):
    names = ("KEPT_REFERENCE", "KEPT_STORE", "KEPT_EVALUATION")
    code = f"import os; print([os.environ[n] for n in {names}]); print('{{\"a\": 1}}')"
    to = io.StringIO()
    evaluate(versions[2], python(code), to)
    location = versions[2].store.location
    assert to.getvalue() == f"{['m:v2', location, 'test']}\n"


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["m.keras"], "f/m.keras"), (["m.bin"], "f/m.bin"),
        (["m.keras", "kept-state.json", "kept-state.npz"], "f/m.keras"),
        (["a/m.weights.h5", "labels.txt"], "f/a/m.weights.h5"),
        (["a.keras", "b.keras"], "f"), (["saved_model.pb", "variables/x"], "f"),
    ],
)  # fmt: skip
def test_the_checkpoint_is_the_one_model_or_the_folder(paths, found):
    assert checkpoint_in("f", paths) == found


def test_of_two_evaluations_at_once_the_first_counts(store, versions, tmp_path):
    ready, goes = tmp_path / "ready", tmp_path / "go"
    waits = f"""
import pathlib, time
pathlib.Path({str(ready)!r}).touch()
while not pathlib.Path({str(goes)!r}).exists(): time.sleep(0.01)
print('{{"a": 1}}')
"""
    found = []
    slow = threading.Thread(target=lambda: found.append(evaluate(versions[0], python(waits))))
    slow.start()
    while not ready.exists():
        time.sleep(0.01)
    assert evaluate(versions[0], python("print('{\"a\": 2}')")).is_new
    goes.touch()
    slow.join()
    assert (found[0].metrics, found[0].is_new) == ({"a": 2}, False)
    assert [each.value for each in store.version("m:v0").record.changes.logged] == [2]


def test_a_version_that_is_deleted_meanwhile(store, versions):
    store.delete("m:v0")
    with pytest.raises(VersionNotFound):
        evaluate(versions[0], python("print('{\"a\": 2}')"))


def test_a_name_that_cannot_be_logged():
    with pytest.raises(InvalidInput, match="An evaluation has a name"):
        Evaluation(" x", python("")).check()


TERMINATED = """
import sys, kept, io
from kept.store.describe.command import Command
from kept.store.describe.evaluate import Evaluation
store = kept.open_store(sys.argv[1])
code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
command = Command((sys.executable, "-c", code))
Evaluation("e", command).of(store.log("m"), store.version("m"), "", sys.stdout)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_too(tmp_path, number):
    store = kept.open_store(tmp_path / "store")
    store.log_artifact("m", kept.MemoryFile("m.bin", [b"x"]))
    job = start(TERMINATED, tmp_path / "store")
    pid = int(job.stdout.readline())
    assert _lives(pid)
    job.send_signal(number)
    job.wait(30)
    assert not _lives(pid)
    assert store.version("m").metrics == {}
