"""What git says of the code of a run."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from kept.store.origin.git import git_facts


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
        "root": str(git.folder),
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


def test_a_git_that_hangs_is_given_up(tmp_path, monkeypatch):
    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\nexec sleep 600\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    begun = time.monotonic()
    assert git_facts(tmp_path, seconds=0.2) == {}
    assert time.monotonic() - begun < 60


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
    assert facts == {"root": str(git.folder), "commit": commit, "branch": "main"}
