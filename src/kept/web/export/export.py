"""Writes an export into a folder: all of it, or nothing."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING

from kept import __version__
from kept.errors import InvalidInput, KeptError
from kept.web import vega
from kept.web.export.pages import contents
from kept.web.links import ASSETS, Links
from kept.web.page import Frame, Page, render
from kept.web.query import Query
from kept.web.reading.reader import Reader
from kept.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.bucket.transfer import Progress
    from kept.store.store import Store
    from kept.web.export.pages import Contents, File
    from kept.web.page import Download

_MARK = "kept-export.json"  # the folder is an export, so a further one may replace it


@dataclass(frozen=True)
class Exported:
    """What an export has written."""

    folder: str
    pages: int
    bytes: int
    left_out: int  # versions that have no page of their own


def export(
    store: Store, folder: str, names: Sequence[str] = (), progress: Progress | None = None
) -> Exported:
    """Write the pages of these artifacts, or of all, into a folder; replace an earlier export.

    progress is called with the pages done and in all. Raises InvalidInput if the folder is not
    empty and no export, ArtifactNotFound or OSError. Then the folder is as it was.
    """
    target = os.path.realpath(folder)
    _check_free(target, store.location)
    for name in names:
        store.artifact(name)
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    with workspace(parent) as room:
        made_in = os.path.join(room, "export")
        os.mkdir(made_in)
        writer = _Writer(made_in, Reader(store), names)
        writer.write_all(progress)
        _check_free(target, store.location)
        if os.path.isdir(target):
            os.rename(target, os.path.join(room, "before"))
        os.rename(made_in, target)
    return Exported(target, writer.pages, writer.bytes, writer.contents.left_out)


def _check_free(target: str, location: str) -> None:
    """Raise InvalidInput unless a folder may be written or replaced."""
    if os.path.isdir(location) and os.path.commonpath([target, os.path.realpath(location)]) in (
        os.path.realpath(location), target
    ):  # fmt: skip
        raise InvalidInput(
            f"{target} is the folder of the store, lies in it, or holds it. Choose another folder."
        )
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target):
        raise InvalidInput(f"{target} is a file. An export needs a folder.")
    if os.listdir(target) and not os.path.isfile(os.path.join(target, _MARK)):
        raise InvalidInput(
            f"{target} is not empty, and no earlier export: it has no {_MARK}. Nothing was "
            "written. Choose another folder, or remove this one first."
        )


class _Writer:
    """Writes the files of one export."""

    def __init__(self, root: str, reader: Reader, names: Sequence[str]) -> None:
        self._root, self._reader = root, reader
        self.contents: Contents = contents(reader, names)
        self._frame = Frame(reader.store.location, read_only=True, is_live=False)
        self.pages = self.bytes = 0

    def write_all(self, progress: Progress | None) -> None:
        """Write all files, those that a browser loads with the pages too."""
        files = self.contents.files
        for done, file in enumerate(files):
            self._write_file(file)
            if progress:
                progress(done + 1, len(files))
        for asset in resources.files("kept.web").joinpath(ASSETS).iterdir():
            self._write(f"{ASSETS}/", asset.name, asset.read_bytes())
        if name := vega.file_name():
            self._write(f"{ASSETS}/", name, vega.script())
        mark = {
            "kept": __version__,
            "store": self._frame.store,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "pages": self.pages,
        }
        self._write("", _MARK, json.dumps(mark, indent=1).encode())

    def _write_file(self, file: File) -> None:
        found = self._made(file, 1)
        if not isinstance(found, Page):
            self._write(file.folder, file.name, found.content)
            return
        self._write_page(file.folder, file.name, found)
        for number in range(2, file.pages(found) + 1):
            page = self._made(file, number)
            if isinstance(page, Page):
                self._write_page(file.folder, f"index-{number}.html", page)

    def _made(self, file: File, number: int) -> Page | Download:
        """Return a content; what cannot be read becomes a page that says so."""
        try:
            return file.make(self._reader, number)
        except KeptError as error:
            return Page("error.html", "Error", {"error": str(error), "status": 500})

    def _write_page(self, folder: str, name: str, page: Page) -> None:
        links = Links(
            folder.count("/"),
            in_files=True,
            folders=self.contents.folders,
            partial=self.contents.partial,
        )
        self._write(folder, name, render(page, self._frame, links, Query()).encode())
        self.pages += 1

    def _write(self, folder: str, name: str, content: bytes) -> None:
        place = os.path.join(self._root, folder)
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, name), "xb") as file:  # names cannot leave the folder
            file.write(content)
        self.bytes += len(content)
