"""Captures where a version comes from: its code, command, environment and machine.

A thread does the work, because git can be slow, and the training must not wait for it. A part that
cannot be found out is left out.
"""

from __future__ import annotations

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

_SECONDS = 15.0  # that the first commit waits for the thread; git itself has 10
_MOST = 4096  # characters of a text


class Capture:
    """The provenance of the versions of one fit, or of one process."""

    def __init__(self, more: Mapping[str, Json] | None = None) -> None:
        """Begin to capture, on a thread; more is what the caller knows, such as the framework."""
        self._found: dict[str, Json] = dict(more or {})
        self._thread = threading.Thread(target=self._run, name="kept-provenance", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter exits, or the machine has no thread left
            self._run()

    def result(self) -> dict[str, Json]:
        """Return the provenance; waits for the thread, for a limited time."""
        if self._thread.ident is not None:
            self._thread.join(_SECONDS)
        found = self._found.copy()
        return {key: value for key, value in found.items() if value not in (None, {}, [])}

    def _run(self) -> None:
        folder, script = _script()
        self._found |= _of_machine()
        git = git_facts(folder)
        root = git.pop("root", None)
        self._found |= {"git": git, "command": _command(script, str(root or folder))}


@functools.cache
def of_process() -> Capture:
    """Return the provenance of versions that this process commits outside of a fit."""
    return Capture()


def _of_machine() -> dict[str, Json]:
    user, _, host = login().rpartition("@")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_facts(),
        "host": _text(host),
        "user": _text(user),
    }


def _script() -> tuple[str, str | None]:
    """Return the folder of the program's code, and the path of its script if it has one.

    A program that is installed, such as pytest, is not the user's code: the working directory is.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    path = os.path.abspath(file) if isinstance(file, str) else None
    installed = [os.path.realpath(place) + os.sep for place in {sys.prefix, sys.base_prefix}]
    if path is None or not os.path.isfile(path):
        return os.getcwd(), None
    if any(os.path.realpath(path).startswith(place) for place in installed):
        return os.getcwd(), path
    return os.path.dirname(path), path


def _command(script: str | None, root: str) -> str:
    """Return the command line in the form of a shell, with a relative script and no secrets."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name:
        first = ["-m", spec.name.removesuffix(".__main__")]
    elif script is not None:
        inside = os.path.realpath(script).startswith(os.path.realpath(root) + os.sep)
        relative = os.path.relpath(os.path.realpath(script), os.path.realpath(root))
        first = [relative if inside else os.path.basename(script)]
    else:
        first = [os.path.basename(sys.argv[0])] if sys.argv and sys.argv[0] else []
    return _text(" ".join(map(_quoted, [*first, *without_secrets(sys.argv[1:])])))


def _quoted(argument: str) -> str:
    is_plain = shlex.quote(argument.replace(MASK, "x")) == argument.replace(MASK, "x")
    return argument if is_plain else shlex.quote(argument)


def _text(text: str) -> str:
    """Return a text as JSON can hold it, which a name of a file need not be."""
    return text.encode("utf-8", "replace").decode()[:_MOST]
