"""Workspaces end with their process: at its end, or by the next process after a kill."""

from __future__ import annotations

import os
import time

import pytest

from kept import workspace as workspaces
from kept.workspace import FilesLeft, abandoned, workspace
from tests.helpers import finish, start, tree, write

HOLD = """
import sys
from kept.workspace import workspace
with workspace(sys.argv[1]) as path:
    open(path + "/half", "w").close()
    print(path, flush=True)
    sys.stdin.readline()
"""
NEXT = """
import sys
from kept.workspace import workspace
with workspace(sys.argv[1]): pass
"""


def age(path, seconds):
    """Make a folder and all in it look as old."""
    then = time.time() - seconds
    for where, _, files in os.walk(path, topdown=False):
        for name in [*files, "."]:
            os.utime(os.path.join(where, name), (then, then))


def killed(folder):
    """Return the workspace that a killed process has left."""
    process = start(HOLD, folder)
    path = process.line().strip()
    process.kill()
    process.wait()
    return path


def sweep(folder):
    finish(start(NEXT, folder))


def test_what_killed_processes_left_can_be_taken_over(tmp_path):
    left = killed(tmp_path)
    age(left, 3600)
    with workspace(str(tmp_path)) as living:
        left = killed(tmp_path)  # the one before was just removed
        age(left, 3600)
        with abandoned(str(tmp_path)) as found:
            assert found == [left]
            sweep(tmp_path)
            assert "half" in os.listdir(left)
        with workspace(str(tmp_path)):  # not the first one, but it removes what is taken over
            assert not os.path.exists(left)
        assert os.path.exists(living)


def test_a_child_that_was_forked_during_a_take_over_keeps_no_lock(tmp_path):
    """As the git of a provenance between its fork and its exec."""
    left = killed(tmp_path)
    age(left, 3600)
    reader, writer = os.pipe()
    with abandoned(str(tmp_path)) as found:
        assert found == [left]
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)  # until the parent closes the pipe
            os._exit(0)
    try:
        with abandoned(str(tmp_path)) as found:
            assert found == [left]
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


def test_a_take_over_that_fails_removes_nothing(tmp_path):
    left = killed(tmp_path)
    age(left, 3600)
    with pytest.raises(KeyError), abandoned(str(tmp_path)) as found, workspace(str(tmp_path)):
        raise KeyError(*found)
    with workspace(str(tmp_path)):
        assert os.path.exists(left)


def test_a_folder_that_cannot_be_read_has_nothing_to_take_over(tmp_path):
    with abandoned(str(tmp_path / "none")) as found:
        assert found == []


def test_it_is_new_and_gone_at_the_end(tmp_path):
    with workspace(str(tmp_path)) as first, workspace(str(tmp_path)) as second:
        assert first != second
        assert {os.path.dirname(path) for path in (first, second)} == {str(tmp_path)}
        os.makedirs(f"{first}/a/b")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing(tmp_path, error):
    with pytest.raises(error), workspace(str(tmp_path)):
        raise error
    assert os.listdir(tmp_path) == []


def test_files_of_the_user_stay(tmp_path):
    def failing():
        with workspace(str(tmp_path)) as path:
            write(tmp_path / os.path.basename(path) / "f", b"mine")
            raise FilesLeft(5, "cannot be put back", path)

    with pytest.raises(FilesLeft):
        failing()
    age(tmp_path, 10 * 24 * 3600)
    sweep(tmp_path)
    assert list(tree(tmp_path).values()) == [b"mine"]


def test_what_cannot_be_removed_is_no_error(tmp_path, monkeypatch):
    def failing(path, *_, **__):
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(os, "unlink", failing)
    monkeypatch.setattr(os, "rmdir", failing)
    with workspace(str(tmp_path)):
        pass


def test_the_workspace_of_a_killed_process_is_removed(tmp_path):
    path = killed(tmp_path)
    sweep(tmp_path)
    assert os.path.exists(path)  # young: its process may not have locked it yet
    age(path, 61)
    sweep(tmp_path)
    assert os.listdir(tmp_path) == []


def test_the_workspace_of_a_living_process_stays(tmp_path):
    process = start(HOLD, tmp_path)
    path = process.line().strip()
    age(path, 10 * 24 * 3600)
    sweep(tmp_path)
    assert os.path.exists(f"{path}/half")
    process.communicate("\n")
    assert process.returncode == 0
    assert os.listdir(tmp_path) == []


def test_the_workspace_of_another_machine_stays_for_a_day(tmp_path):
    path = killed(tmp_path)
    [lock] = [name for name in os.listdir(path) if name.startswith(".kept-lock-")]
    os.rename(f"{path}/{lock}", f"{path}/.kept-lock-0123456789abcdef")
    age(path, 23 * 3600)
    sweep(tmp_path)
    assert os.path.exists(path)
    age(path, 25 * 3600)
    write(tmp_path / os.path.basename(path) / "d/new", b"")  # as if it were still at work
    sweep(tmp_path)
    assert os.path.exists(path)
    age(path, 25 * 3600)
    sweep(tmp_path)
    assert not os.path.exists(path)


def test_everything_else_stays(tmp_path):
    """What an outbox has linked, what a user has made, and what is no folder."""
    files = [
        ".kept-outbox-0123abcd/0",
        ".kept-versions/m.keras",
        "kept-0123abcd/x",
        ".kept-file_123",
    ]
    for name in files:
        write(tmp_path / name, b"mine")
    (tmp_path / "elsewhere/d").mkdir(parents=True)
    write(tmp_path / "elsewhere/d/.kept-lock-0", b"")
    (tmp_path / ".kept-link_012").symlink_to("elsewhere/d")
    age(tmp_path, 10 * 24 * 3600)
    before = tree(tmp_path)
    sweep(tmp_path)
    assert tree(tmp_path) == before
    assert (tmp_path / ".kept-link_012").is_symlink()


def test_an_empty_folder_without_a_lock_is_removed_after_a_day(tmp_path):
    (tmp_path / ".kept-01234567").mkdir()
    age(tmp_path, 3600)
    sweep(tmp_path)
    assert os.listdir(tmp_path) == [".kept-01234567"]
    age(tmp_path, 25 * 3600)
    sweep(tmp_path)
    assert os.listdir(tmp_path) == []


def test_without_locks_it_works_and_nobody_removes_it(tmp_path, monkeypatch):
    def failing(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(workspaces.fcntl, "flock", failing)
    with workspace(str(tmp_path)) as path:
        write(tmp_path / os.path.basename(path) / "f", b"")
        age(path, 10 * 24 * 3600)
        sweep(tmp_path)
        assert os.listdir(path) == ["f"]
