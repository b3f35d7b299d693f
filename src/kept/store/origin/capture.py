"""Captures where a version comes from: its code, command, environment and machine.

A thread does the work, because git can be slow, and the training must not wait for it. Each part is
captured on its own. A part that fails is left out, and a version that is committed before git has
answered has no answer of git.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shlex
import sys
import threading
from typing import TYPE_CHECKING

from kept.store.origin.actor import login
from kept.store.origin.git import git_facts
from kept.store.origin.packages import package_facts
from kept.store.origin.secrets import MASK, without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.encoding import Json

_MOST = 4096  # characters of a text


class Patience:
    """How long the commits of this process wait for a capture.

    After one of them has waited in vain, no other waits: a git that hangs delays a process
    once, and not at every save.
    """

    def __init__(self, seconds: float = 2.0) -> None:
        """Give each commit a number of seconds."""
        self._seconds = seconds

    def wait(self, thread: threading.Thread) -> None:
        """Wait for a thread to end."""
        thread.join(self._seconds)
        if thread.is_alive():
            self._seconds = 0.0


_patience = Patience()


class Capture:
    """The provenance of the versions of one fit, or of one process."""

    def __init__(self, more: Mapping[str, Json] | None = None) -> None:
        """Begin to capture, on a thread; more is what the caller knows, such as the framework."""
        self._found: dict[str, Json] = dict(more or {})
        self._thread = threading.Thread(target=self._run, name="kept-provenance", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter exits, or the machine has no thread left
            self._capture_quick()

    def result(self) -> dict[str, Json]:
        """Return what is known by now; waits for the rest for a short time, see Patience."""
        if self._thread.ident is not None:
            _patience.wait(self._thread)
        found = self._found.copy()
        return {key: value for key, value in found.items() if value not in (None, {}, [])}

    def _run(self) -> None:
        self._capture_quick()
        with contextlib.suppress(Exception):
            for facts in git_facts(_code_folder()):
                self._found["git"] = facts

    def _capture_quick(self) -> None:
        """Capture all that needs no other program; a part that fails is left out."""
        for part in (_python, _packages, _login, _command):
            with contextlib.suppress(Exception):
                self._found |= part()


def of_process() -> Capture:
    """Return the provenance of versions that this process commits outside of a fit."""
    return _of_process(os.getpid())


@functools.cache
def _of_process(_: int) -> Capture:  # a forked process has no thread of its parent
    return Capture()


def _python() -> dict[str, Json]:
    return {"python": platform.python_version(), "platform": platform.platform()}


def _packages() -> dict[str, Json]:
    return {"packages": package_facts()}


def _login() -> dict[str, Json]:
    user, _, host = login().rpartition("@")
    return {"host": _text(host), "user": _text(user)}


def _script() -> str | None:
    """Return the path of the program's script, if it has one."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    path = os.path.abspath(file) if isinstance(file, str) else None
    return path if path is not None and os.path.isfile(path) else None


def _code_folder() -> str:
    """Return the folder of the program's code.

    A program that is installed, such as pytest, is not the user's code: the working directory is.
    """
    path = _script()
    if path is None or _is_installed(path):
        return os.getcwd()
    return os.path.dirname(path)


def _is_installed(path: str) -> bool:
    places = {os.path.realpath(place) + os.sep for place in (sys.prefix, sys.base_prefix)}
    return os.path.realpath(path).startswith(tuple(places))


def _command() -> dict[str, Json]:
    """Return the command line in the form of a shell, with a relative script and no secrets."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    script = _script()
    if spec is not None and spec.name:
        first = ["-m", spec.name.removesuffix(".__main__")]
    elif script is not None:
        first = [_relative(script)]
    else:
        first = [os.path.basename(sys.argv[0])] if sys.argv and sys.argv[0] else []
    line = " ".join(map(_quoted, [*first, *without_secrets(sys.argv[1:])]))
    return {"command": _text(line)}


def _relative(script: str) -> str:
    """Return the path of a script in its repository, or its name outside of one."""
    real = os.path.realpath(script)
    folder = os.path.dirname(real)
    while not _is_installed(real) and folder != os.path.dirname(folder):
        if os.path.exists(os.path.join(folder, ".git")):  # a folder, or a file of a worktree
            return os.path.relpath(real, folder)
        folder = os.path.dirname(folder)
    return os.path.basename(script)


def _quoted(argument: str) -> str:
    is_plain = shlex.quote(argument.replace(MASK, "x")) == argument.replace(MASK, "x")
    return argument if is_plain else shlex.quote(argument)


def _text(text: str) -> str:
    """Return a text as JSON can hold it, which a name of a file need not be."""
    return text.encode("utf-8", "replace").decode()[:_MOST]
