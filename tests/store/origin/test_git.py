"""What git says of the code of a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from kept.store.origin import git as module


def git_facts(folder, **options):
    """All that git says in the end."""
    return ([{}, *module.git_facts(folder, **options)])[-1]


@pytest.fixture
def git(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    folder = tmp_path / "code"
    (folder / "src").mkdir(parents=True)

    def run(*arguments):
        identity = ("-c", "user.email=a@b", "-c", "user.name=n")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=folder, capture_output=True, check=True, text=True
        )
        return done.stdout.strip()

    run.folder = folder
    run("init", "-q", "-b", "main")
    (folder / "src/train.py").write_text("lr = 0.1\n")
    run("add", ".")
    run("commit", "-q", "-m", "first")
    return run


def test_a_clean_repository(git):
    git("remote", "add", "origin", "https://me:ghp_secretsecretsecretsecret@host/org/code.git")
    assert git_facts(git.folder / "src") == {
        "commit": git("rev-parse", "HEAD"),
        "branch": "main",
        "repository": "https://***@host/org/code.git",
        "dirty": None,
    }


def test_changes_have_a_digest_and_are_not_written(git):
    before = git("status", "--porcelain"), os.stat(git.folder / ".git/index").st_mtime_ns
    (git.folder / "src/train.py").write_text("lr = 0.2\n")
    changed = git_facts(git.folder)["dirty"]
    (git.folder / "src/train.py").write_text("lr = 0.3\n")
    other = git_facts(git.folder)["dirty"]
    (git.folder / "src/train.py").write_text("lr = 0.2\n")
    assert changed == git_facts(git.folder)["dirty"] != other
    assert os.stat(git.folder / ".git/index").st_mtime_ns == before[1]


def test_untracked_code_counts_and_checkpoints_do_not(git):
    (git.folder / "model.keras").write_bytes(b"x")
    assert git_facts(git.folder / "src")["dirty"] is None
    (git.folder / "new.py").write_text("")
    assert git_facts(git.folder / "src")["dirty"] is not None


def test_a_detached_head_has_no_branch(git):
    git("checkout", "-q", "--detach")
    facts = git_facts(git.folder)
    assert "branch" not in facts
    assert facts["commit"] == git("rev-parse", "HEAD")


def test_a_repository_without_a_commit(git, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=empty, check=True)
    (empty / "a.py").write_text("")
    facts = git_facts(empty)
    assert (facts["branch"], facts.get("commit")) == ("main", None)
    assert facts["dirty"] is not None


def test_outside_of_a_repository_and_without_git_it_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_facts(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_facts(tmp_path) == {}


def wait_until_gone(pid, child):
    """Wait until neither a process nor its child runs; a child that init has to reap is gone."""
    end = time.monotonic() + 60
    while True:
        found = subprocess.run(
            ["ps", "-A", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        running = [line for line in found if line.split()[1][0] != "Z"]
        if not any(line.split()[0] == pid or child in line for line in running):
            return
        assert time.monotonic() < end


@pytest.mark.parametrize("hanging", ["exec sleep {}", "sleep {}\necho x"])
def test_a_git_that_hangs_is_given_up_with_its_children(tmp_path, monkeypatch, hanging):
    seconds = f"{time.time_ns() % 10**6 + 600}.5"
    hanging = hanging.format(seconds)
    fake, pids = tmp_path / "git", tmp_path / "pids"
    fake.write_text(f"#!/bin/sh\necho $$ >> {pids}\n{hanging}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    begun = time.monotonic()
    assert git_facts(tmp_path, seconds=0.3) == {}
    assert time.monotonic() - begun < 60
    [pid] = pids.read_text().split()  # one call: no other begins when the time is over
    wait_until_gone(pid, f"sleep {seconds}")


def test_a_child_that_leaves_the_group_of_git_blocks_nothing(tmp_path, monkeypatch):
    fake, pids = tmp_path / "git", tmp_path / "pids"
    fake.write_text(f"#!/bin/sh\nsetsid sh -c 'echo $$ >> {pids}; exec sleep 600'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    begun = time.monotonic()
    try:
        assert git_facts(tmp_path, seconds=0.5) == {}
        assert time.monotonic() - begun < 60
    finally:
        if pids.exists():
            os.kill(int(pids.read_text()), signal.SIGKILL)


def test_no_git_outlives_the_process(tmp_path):
    seconds = f"{time.time_ns() % 10**6 + 600}.25"
    fake, pids = tmp_path / "git", tmp_path / "pids"
    fake.write_text(f"#!/bin/sh\necho $$ >> {pids}\nsleep {seconds}\n")
    fake.chmod(0o755)
    script = (
        "import time, os\nfrom kept.store.origin import capture, git\ncapture.Capture()\n"
        f"while not (git._running and os.path.exists({str(pids)!r})): time.sleep(0.01)\n"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    wait_until_gone(pids.read_text().strip(), f"sleep {seconds}")


def test_other_code_in_a_changed_submodule_counts(git, tmp_path, monkeypatch):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "net.py").write_text("1\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git("-C", inner, *arguments)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "net")
    git("commit", "-q", "-m", "second")
    git("config", "--file", ".git/modules/net/config", "diff.external", f"touch {tmp_path}/ran")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {tmp_path}/ran")
    assert git_facts(git.folder)["dirty"] is None
    found = []
    for text in ("2\n", "3\n", "2\n"):
        (git.folder / "net/net.py").write_text(text)
        found.append(git_facts(git.folder)["dirty"])
    assert found[0] == found[2] != found[1]
    assert None not in found
    (git.folder / "net/net.py").write_text("1\n")
    (git.folder / "net/model.keras").write_bytes(b"x")
    assert git_facts(git.folder)["dirty"] is None
    (git.folder / "net/new.py").write_text("")
    assert git_facts(git.folder)["dirty"] not in (None, *found)
    assert not (tmp_path / "ran").exists()


def test_a_git_that_fails_later_leaves_out_what_it_did_not_say(git, monkeypatch, tmp_path):
    commit = git("rev-parse", "HEAD")
    fake = tmp_path / "git"
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *diff*) exit 1;; *remote*) exit 3;; esac\n'
        f'PATH="{os.environ["PATH"]}" exec git "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = git_facts(git.folder)
    assert facts == {"commit": commit, "branch": "main"}
