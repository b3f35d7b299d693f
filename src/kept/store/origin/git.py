"""What git says of the code of a run: commit, branch, changes and repository."""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from kept.digest import Hasher
from kept.store.origin.secrets import without_secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.encoding import Json

_SECONDS = 10.0  # for all calls of git together: a large repository on a slow disk
_DYING = 1.0  # seconds that a killed git has to end
_PIECE = 1 << 20
# Git writes nothing, asks for nothing, and starts no program to show differences. It does start the
# clean filters that a user has configured: without them, each file of git-lfs would count as
# changed.
_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=true")
_DIFF = (
    "--no-ext-diff", "--no-textconv", "--no-color", "--binary", "--submodule=short",
    "--ignore-submodules=dirty",
)  # fmt: skip
# Untracked files count only if they are code, because checkpoints and logs change all the time.
_CODE = (
    "*.py", "*.pyi", "*.pyx", "*.ipynb", "*.c", "*.cc", "*.cpp", "*.cu", "*.h", "*.hpp", "*.rs",
    "*.sh", "*.toml", "*.yaml", "*.yml", "*.cfg", "*.ini", "*.gin",
)  # fmt: skip
_running: set[subprocess.Popen[bytes]] = set()


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
        process = self._begun(arguments)
        _running.add(process)
        try:
            while piece := self._read(process):
                yield piece
            code = process.wait(self._left())
        except subprocess.TimeoutExpired as error:
            raise _NoAnswer from error
        finally:
            _end(process)
            _running.discard(process)
        if code:
            raise _NoAnswer

    def _read(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return what git prints next; a read alone could block for ever."""
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        if not waiting.poll(self._left() * 1000):
            raise _NoAnswer
        return os.read(pipe, _PIECE)

    def _left(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    def _begun(self, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        program = shutil.which("git")
        if program is None or not self._left():
            raise _NoAnswer
        environment = {k: v for k, v in os.environ.items() if k != "GIT_EXTERNAL_DIFF"}
        try:
            return subprocess.Popen(  # noqa: S603 - the arguments are constants of this module
                [program, *_SAFE, *arguments],
                cwd=self._folder,
                env=environment | _QUIET,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that all that git starts can be ended with it
            )
        except OSError as error:
            raise _NoAnswer from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and the programs that it started; a process that cannot end is left alone."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_DYING)
    if process.stdout is not None:
        process.stdout.close()


@atexit.register
def _end_all() -> None:
    """End what runs when the interpreter exits; a session of its own would outlive it."""
    for process in _running.copy():
        _end(process)


os.register_at_fork(after_in_child=_running.clear)


def git_facts(folder: str, seconds: float = _SECONDS) -> Iterator[dict[str, Json]]:
    """Yield commit, branch, repository and dirty of the code in a folder, as far as git says them.

    Each dictionary has what those before it have, and more. The last fact is dirty, because it can
    take long. It is None for code without changes. Otherwise it is a digest of all differences to
    the commit, and of the names of code files that git does not track. There is no dictionary if
    the folder is in no repository, or if git is missing.
    """
    git = _Git(folder, seconds)
    root = git.line("rev-parse", "--show-toplevel")
    if root is None:
        return
    found: dict[str, Json] = {}
    if commit := git.line("rev-parse", "--verify", "-q", "HEAD"):
        found["commit"] = commit
    if branch := git.line("symbolic-ref", "-q", "--short", "HEAD"):
        found["branch"] = branch
    if url := git.line("config", "--get", "remote.origin.url"):
        found["repository"] = without_secrets_in_url(url)
    yield found
    with contextlib.suppress(_NoAnswer):
        yield found | {"dirty": _changes(git, root)}


def _changes(git: _Git, root: str) -> str | None:
    """Return a digest of what differs from the commit, None for nothing."""
    hasher, is_changed = Hasher(), False
    for folder in _with_submodules(git, root):
        calls: list[tuple[str, ...]] = [
            ("ls-files", "-z", "--others", "--exclude-standard", "--", *_CODE)
        ]
        if git.line("-C", folder, "rev-parse", "--verify", "-q", "HEAD"):
            calls.append(("diff", *_DIFF, "HEAD"))
        for call in calls:
            for piece in git.pieces("-C", folder, *call):
                hasher.update(piece)
                is_changed = True
    return hasher.hexdigest() if is_changed else None


def _with_submodules(git: _Git, root: str) -> Iterator[str]:
    """Yield the folder of a repository, and those of its submodules that are checked out.

    git itself would compare submodules with the program that diff.external names.
    """
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        yield folder
        names = os.path.join(folder, ".gitmodules")
        if not os.path.isfile(names):
            continue
        entries = ("config", "-z", "--file", names, "--get-regexp", r"^submodule\..*\.path$")
        for entry in (git.line(*entries) or "").split("\0"):
            inner = os.path.join(folder, entry.partition("\n")[2])
            if inner != os.path.join(folder, "") and os.path.exists(os.path.join(inner, ".git")):
                waiting.append(inner)
