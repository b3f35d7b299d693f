"""Moves new files to their places and replaces those of the same names: all of them, or none.

Before a file is replaced, a hard link in the workspace keeps it, so that no place is ever empty.
After an error, or Ctrl-C, everything is put back. What is still to be done can be seen on the disk:
a new file that has its place is no longer in the workspace. So an interrupt at any point, also of
the putting back itself, needs no record of what was done.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from kept.workspace import FilesLeft

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FEW = 5


class NewFile(NamedTuple):
    """A complete file in a workspace, and the place that it is for."""

    path: str
    target: Path

    @property
    def before(self) -> str:
        """The path in the workspace that keeps the replaced file."""
        return f"{self.path}.before"


@contextlib.contextmanager
def named(file: NewFile) -> Iterator[None]:
    """Make an error of the operating system name the file's place, not a path in the workspace."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, file.path, file.before):
            error.filename = os.fspath(file.target)
            if error.filename2 is not None:
                del error.filename2  # None would be printed
        raise


class Folders:
    """Makes folders, and can remove those that it made."""

    def __init__(self) -> None:
        self._made: list[Path] = []
        self._known: set[Path] = set()

    def make(self, folder: Path) -> None:
        """Make a folder, and those above it, unless it exists."""
        if folder in self._known:
            return
        here, missing = folder, []
        while not os.path.lexists(here) and here != here.parent:
            missing.append(here)
            here = here.parent
        self._made += reversed(missing)  # before they are made: an interrupt must not lose one
        folder.mkdir(parents=True, exist_ok=True)
        self._known.add(folder)

    def remove(self) -> None:
        """Remove the folders that make has made, as far as they are empty."""
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def put_in_place(files: list[NewFile], folders: Folders) -> None:
    """Move the files to their places; after an error, put the replaced files back and raise it."""
    try:
        for file in files:
            folders.make(file.target.parent)
            with named(file):
                _replace(file)
    except BaseException as error:
        left = _put_all_back(files)
        if left:
            raise _not_put_back(left, error) from error
        raise


def _replace(file: NewFile) -> None:
    if os.path.isdir(file.target) and not os.path.islink(file.target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(file.target))
    if os.path.lexists(file.target):
        _keep(file.target, file.before)
    os.replace(file.path, file.target)


def _keep(path: str | Path, copy: str) -> None:
    """Give a file a second name; without hard links, move it there."""
    try:
        os.link(path, copy, follow_symlinks=False)
    except OSError:
        os.rename(path, copy)


def _put_all_back(files: list[NewFile]) -> list[NewFile]:
    """Undo put_in_place, however often Ctrl-C is pressed; return the files that it cannot undo."""
    while True:
        try:
            return [file for file in files if not _is_put_back(file)]
        except KeyboardInterrupt:
            continue


def _is_put_back(file: NewFile) -> bool:
    is_kept = os.path.lexists(file.before)
    try:
        if not os.path.lexists(file.path):  # it has its place
            with contextlib.suppress(FileNotFoundError):  # another process has removed it since
                if is_kept:
                    _keep(file.target, file.path)
                else:
                    os.rename(file.target, file.path)
        if is_kept:
            os.replace(file.before, file.target)
    except OSError:
        return False
    return True


def _not_put_back(files: list[NewFile], error: BaseException) -> FilesLeft:
    """Return an error that keeps the workspace with the replaced files, and names it."""
    kept = [file for file in files if os.path.lexists(file.before)]
    names = ", ".join(f"{os.path.basename(f.before)} of {f.target}" for f in kept[:_FEW])
    what = (
        f"{type(error).__name__}: {error}; and then {len(files)} files could not be put back. The "
        f"replaced files ({names or 'none'}{', …' if len(kept) > _FEW else ''}) are in"
    )
    return FilesLeft(errno.EIO, what, os.path.dirname(files[0].path))
