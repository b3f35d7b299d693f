"""What git says of the code of a run: commit, branch, changes and repository."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from kept.digest import Hasher
from kept.store.origin.secrets import without_secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.encoding import Json

_SECONDS = 10.0  # for all calls of git together: a large repository on a slow disk
_PIECE = 1 << 20
# Git writes nothing, asks for nothing, and starts no program that the repository names.
_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=true")
# Untracked files count only if they are code, because checkpoints and logs change all the time.
_CODE = (
    "*.py", "*.pyi", "*.pyx", "*.ipynb", "*.c", "*.cc", "*.cpp", "*.cu", "*.h", "*.hpp", "*.rs",
    "*.sh", "*.toml", "*.yaml", "*.yml", "*.cfg", "*.ini", "*.gin",
)  # fmt: skip


class _NoAnswer(Exception):
    """Git is missing, failed, or took too long."""


class _Git:
    """Calls git in one folder, all calls within one time limit."""

    def __init__(self, folder: str, seconds: float) -> None:
        self._folder, self._end = folder, time.monotonic() + seconds

    def line(self, *arguments: str) -> str | None:
        """Return the line that git prints, None if it fails."""
        try:
            out = b"".join(self.pieces(*arguments))
        except _NoAnswer:
            return None
        return out.decode("utf-8", "replace").rstrip("\n") or None

    def pieces(self, *arguments: str) -> Iterator[bytes]:
        """Yield what git prints; raises _NoAnswer if it fails or takes too long."""
        with self._begun(arguments) as process:
            assert process.stdout is not None
            # A git that prints nothing blocks the read, so only its end can wake it.
            limit = threading.Timer(max(self._end - time.monotonic(), 0.0), process.kill)
            limit.daemon = True
            try:
                limit.start()
                while piece := process.stdout.read(_PIECE):
                    yield piece
            except RuntimeError as error:  # no thread can start: the interpreter exits
                raise _NoAnswer from error
            finally:
                process.kill()
                limit.cancel()
        if process.returncode:
            raise _NoAnswer

    def _begun(self, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        program = shutil.which("git")
        if program is None:
            raise _NoAnswer
        try:
            return subprocess.Popen(  # noqa: S603 - the arguments are constants of this module
                [program, *_SAFE, *arguments],
                cwd=self._folder,
                env={**os.environ, **_QUIET},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise _NoAnswer from error


def git_facts(folder: str, seconds: float = _SECONDS) -> dict[str, Json]:
    """Return commit, branch, dirty and repository of the code in a folder, as far as git says them.

    It is empty if the folder is in no repository, or if git is missing. dirty is None for code
    without changes. Otherwise it is a digest of all differences to the commit, and of the names of
    code files that git does not track. root is the folder of the repository, and not for storing.
    """
    git = _Git(folder, seconds)
    root = git.line("rev-parse", "--show-toplevel")
    if root is None:
        return {}
    found: dict[str, Json] = {"root": root}
    if commit := git.line("rev-parse", "--verify", "-q", "HEAD"):
        found["commit"] = commit
    if branch := git.line("symbolic-ref", "-q", "--short", "HEAD"):
        found["branch"] = branch
    if url := git.line("config", "--get", "remote.origin.url"):
        found["repository"] = without_secrets_in_url(url)
    with contextlib.suppress(_NoAnswer):
        found["dirty"] = _changes(git, root, has_commit=commit is not None)
    return found


def _changes(git: _Git, root: str, *, has_commit: bool) -> str | None:
    """Return a digest of what differs from the commit, None for nothing."""
    hasher, is_changed = Hasher(), False
    calls: list[tuple[str, ...]] = [
        ("-C", root, "ls-files", "-z", "--others", "--exclude-standard", "--", *_CODE)
    ]
    if has_commit:
        calls.append(("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", "HEAD"))
    for call in calls:
        for piece in git.pieces(*call):
            hasher.update(piece)
            is_changed = True
    return hasher.hexdigest() if is_changed else None
