"""Where an export goes: checked first, and complete or absent at the end."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kept.bucket.file_io import sync_file
from kept.errors import InvalidPath
from kept.store.content.replace_files import Folders, NewFile, put_in_place
from kept.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.exchange.exporting.formats import Format

_SIGN = "saved_model.pb"  # the file that makes a folder a SavedModel


class Place:
    """The path of an export."""

    def __init__(self, path: str | os.PathLike[str], format: Format, *, force: bool) -> None:
        """Check the path; raises InvalidPath for one with a wrong ending, or that exists."""
        self.path, self._format, self._force = Path(os.path.abspath(path)), format, force
        name = self.path.name
        if not name.endswith(format.ending) or name == format.ending:
            raise InvalidPath(
                f"The path of {format.noun} ends in {format.ending}. Received: {os.fspath(path)!r}"
            )
        stem = name.removesuffix(format.ending)
        beside = [self.path.with_name(stem + ending) for ending in format.beside]
        for target in [self.path, *beside]:
            self._check_free(target)

    def _check_free(self, target: Path) -> None:
        if not os.path.lexists(target):
            return
        if not self._force:
            raise InvalidPath(
                f"{target} exists. Name another path, or replace it with --force, in Python with "
                "force=True"
            )
        is_folder = target.is_dir() and not target.is_symlink()
        if is_folder != self._format.is_folder or (is_folder and not (target / _SIGN).is_file()):
            raise InvalidPath(f"{target} exists, and is not {self._format.noun}. Remove it first.")

    @contextlib.contextmanager
    def written(self) -> Iterator[str]:
        """Yield a path to write to; at the end, what lies there gets its place.

        After an error, the place is as it was.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with workspace(os.fspath(self.path.parent)) as room:
            folder = os.path.join(room, "new")
            os.mkdir(folder)
            yield os.path.join(folder, self.path.name)
            for where, _, names in os.walk(folder):
                for name in names:
                    sync_file(os.path.join(where, name))
            if self._format.is_folder:
                self._place_folder(room, os.path.join(folder, self.path.name))
            else:
                self._place_files(folder)

    def _place_folder(self, room: str, written: str) -> None:
        before = os.path.join(room, "before")
        if self.path.exists():
            os.rename(self.path, before)
        try:
            os.rename(written, self.path)
        except BaseException:
            if os.path.exists(before):
                os.rename(before, self.path)
            raise

    def _place_files(self, folder: str) -> None:
        """Move the files, the named one last: an exporter may write data beside it."""
        names = sorted(os.listdir(folder), key=lambda name: (name == self.path.name, name))
        files = [NewFile(os.path.join(folder, name), self.path.with_name(name)) for name in names]
        for file in files:
            self._check_free(file.target)
        put_in_place(files, Folders())
