"""Where versions come from: what a process captures of itself."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from threading import Event, Thread

import pytest

from kept.store.origin import capture
from kept.store.origin.capture import Capture, Patience
from kept.store.origin.packages import installed, package_facts

SCRIPT = """
import json, kept
version = kept.open_store("kept-store").log_artifact("m", kept.MemoryFile("f", [b"1"]))
print(json.dumps(version.provenance))
"""


class Waits(list):
    """The times for which threads were joined."""

    def __init__(self, monkeypatch):
        super().__init__()
        join = Thread.join

        def noted(thread, timeout=None):
            if thread.name == "kept-provenance" and timeout != 60:
                self.append(timeout)
            join(thread, timeout)

        monkeypatch.setattr(Thread, "join", noted)


def captured(folder, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "USER": "ann", "HOME": str(folder), **environment},
    )
    return json.loads(done.stdout)


def test_a_script_in_a_repository(tmp_path):
    code = tmp_path / "code" / "jobs"
    code.mkdir(parents=True)
    (code / "train.py").write_text(SCRIPT)
    (code / "__main__.py").write_text(SCRIPT)
    for arguments in (["init", "-q", "-b", "dev"], ["remote", "add", "origin", "git@h:o/r.git"]):
        subprocess.run(["git", *arguments], cwd=tmp_path / "code", check=True)
    work = tmp_path / "work"
    work.mkdir()
    arguments = ["--lr", "0.1", "--api-key", "hidden", "a b"]
    found = captured(work, code / "train.py", *arguments)
    assert found["command"] == "jobs/train.py --lr 0.1 --api-key *** 'a b'"
    assert found["git"]["branch"] == "dev"
    assert found["git"]["repository"] == "git@h:o/r.git"
    assert (found["python"], found["user"]) == (platform.python_version(), "ann")
    assert found["packages"] == package_facts()
    assert not {"root", "cwd"} & {*found, *found["git"]}
    assert str(tmp_path) not in json.dumps(found)
    module = captured(tmp_path / "code", "-m", "jobs", "x")
    assert module["command"] == "-m jobs x"


def test_a_text_that_is_no_unicode_does_not_stop_the_commit(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    assert captured(tmp_path, "train.py", b"\xff")["command"].startswith("train.py ")


def test_what_cannot_be_found_out_is_left_out(monkeypatch):
    monkeypatch.setattr(capture, "git_facts", lambda _: [])
    found = Capture({"framework": "jax", "devices": {}}).result()
    assert not {"git", "devices"} & found.keys()
    assert found["framework"] == "jax"


@pytest.mark.parametrize("part", ["package_facts", "login", "without_secrets", "git_facts"])
def test_a_part_that_fails_takes_no_other_with_it(monkeypatch, part):
    def fail(*_):
        raise ValueError("broken")

    monkeypatch.setattr(capture, "git_facts", lambda _: [{"commit": "1"}])
    whole = Capture().result()
    monkeypatch.setattr(capture, part, fail)
    found = Capture().result()
    assert found.items() < whole.items()
    assert len(whole) - len(found) <= 2


def test_a_working_directory_that_was_deleted_leaves_git_out(tmp_path):
    (tmp_path / "gone").mkdir()
    script = f"import os, shutil; os.chdir('gone'); shutil.rmtree('{tmp_path}/gone')\n"
    # As on a command line, where the directory is that of the code.
    script += SCRIPT.replace('"kept-store"', '"memory:"').replace("import json", "import json, sys")
    found = captured(tmp_path, "-c", script, "x")
    assert found["command"] == "-c x"
    assert {"python", "packages", "host", "user"} <= found.keys()
    assert "git" not in found


def test_a_capture_that_is_slow_delays_a_process_once(monkeypatch):
    released, answers = Event(), [{"commit": "1"}]
    monkeypatch.setattr(capture, "git_facts", lambda _: released.wait(60) and answers)
    monkeypatch.setattr(capture, "_patience", Patience(0.2))
    waits = Waits(monkeypatch)
    slow, other = Capture({"framework": "jax"}), Capture()
    early = [slow.result(), slow.result(), other.result()]
    assert all("command" in each and "git" not in each for each in early)
    assert waits == [0.2, 0.0, 0.0]
    released.set()
    slow._thread.join(60)
    assert slow.result() == {**early[0], "git": {"commit": "1"}}


def test_the_commit_is_known_before_the_changes(monkeypatch):
    reached, released = Event(), Event()

    def facts(_):
        yield {"commit": "1"}
        reached.set()
        released.wait(60)

    monkeypatch.setattr(capture, "git_facts", facts)
    monkeypatch.setattr(capture, "_patience", Patience(0.0))
    slow = Capture()
    assert reached.wait(60)
    assert slow.result()["git"] == {"commit": "1"}
    released.set()


def test_a_forked_process_captures_again(monkeypatch):
    parent = capture.of_process()
    assert capture.of_process() is parent
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert capture.of_process() is not parent


def test_an_interpreter_that_starts_no_thread_captures_at_once(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert "command" in Capture().result()


def test_packages_have_the_versions_that_pip_knows():
    from importlib.metadata import version

    found = installed()
    for name in ("pytest", "numpy", "blake3"):
        assert found[name] == version(name)
    assert package_facts()["versions"]["numpy"] == version("numpy")


def test_the_first_package_on_the_path_counts(tmp_path, monkeypatch):
    for place, number in (("a", "1.0"), ("b", "2.0")):
        (tmp_path / place / f"My.Package-{number}.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "a"), str(tmp_path / "b"), "missing.zip"])
    assert installed() == {"my-package": "1.0"}


@pytest.mark.parametrize("name", ["x", "x.dist-info", "x-1.txt"])
def test_other_folders_are_no_packages(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert installed() == {}
