"""Finds the files to store: on the disk or in memory, each with its path in the version."""

from __future__ import annotations

import contextlib
import itertools
import operator
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import InvalidPath
from kept.names import check_paths
from kept.store.content.file_source import MemoryFile, open_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from kept.store.content.file_source import FileSource

AnyPath = str | os.PathLike[str]
Storable = AnyPath | MemoryFile


class Source(NamedTuple):
    """A file to be stored."""

    path: str  # in the version
    file: str | MemoryFile  # a path on the disk, or the file itself

    @property
    def size(self) -> int:
        """The size of the file now, in bytes."""
        return os.path.getsize(self.file) if isinstance(self.file, str) else self.file.size

    def open(self) -> AbstractContextManager[FileSource]:
        """Open the file for reading; raises InvalidPath if it changes meanwhile."""
        if isinstance(self.file, str):
            return open_file(self.file)
        return contextlib.nullcontext(self.file)


def find_sources(paths: Storable | Iterable[Storable]) -> list[Source]:
    """Return the files at and below paths, in the order of their paths in the version.

    A path is stored under its own name: a/b/f becomes f; a folder a/b/d becomes d, with all files
    below it; a file in memory keeps its name. A path may be a link. Inside a folder, a link must
    lead to a file in the same folder. Raises InvalidPath if a path does not exist, is no file or
    folder, or collides with another one.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike, MemoryFile)) else list(paths)
    found = (source for path in given for source in _at(path))
    sources = sorted(found, key=operator.attrgetter("path"))
    if not sources:
        raise InvalidPath(f"There is no file to store. Received: {given!r}")
    repeated = [a.path for a, b in itertools.pairwise(sources) if a.path == b.path]
    if repeated:
        raise InvalidPath(f"Two files would be {repeated[0]!r} in the version. Received: {given!r}")
    check_paths(source.path for source in sources)
    return sources


def _at(path: Storable) -> Iterator[Source]:
    if isinstance(path, MemoryFile):
        yield Source(path.name, path)
        return
    absolute = os.path.abspath(os.fspath(path))
    name = os.path.basename(absolute)
    if os.path.isfile(absolute):
        yield Source(name, absolute)
    elif os.path.isdir(absolute):
        yield from _below(absolute, name)
    else:
        what = "is neither a file nor a folder" if os.path.lexists(path) else "does not exist"
        raise InvalidPath(f"A path to be stored {what}. Received: {path!r}")


def _below(folder: str, name: str) -> Iterator[Source]:
    for where, folders, files in os.walk(folder, onerror=_raise):
        inside = os.path.relpath(where, folder)
        parts = [name, *([] if inside == "." else inside.split(os.sep))]
        for link in filter(os.path.islink, (os.path.join(where, name) for name in folders)):
            raise InvalidPath(
                "A folder to be stored holds a link to a folder. Replace it by the folder itself. "
                f"Received: {link!r}, which leads to {os.readlink(link)!r}"
            )
        for file in files:
            full = os.path.join(where, file)
            _check_file(full, folder)
            yield Source("/".join([*parts, file]), full)


def _check_file(path: str, folder: str) -> None:
    """Raise InvalidPath for what is no file, or a link out of the folder; open nothing."""
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        found = _check_link(path, folder)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidPath(
            "A folder to be stored holds something that is no file, such as a pipe, a socket or a "
            f"device. Received: {path!r}"
        )


def _check_link(path: str, folder: str) -> os.stat_result:
    """Return what a link leads to; raises InvalidPath unless it lies in the folder."""
    leads = f"Received: {path!r}, which leads to {os.readlink(path)!r}"
    try:
        found = os.stat(path)
    except OSError as error:
        raise InvalidPath(
            f"A folder to be stored holds a link to nothing ({error.strerror}). Remove the link. "
            f"{leads}"
        ) from None
    end = os.path.realpath(path)
    if not Path(end).is_relative_to(os.path.realpath(folder)):
        raise InvalidPath(
            f"A folder to be stored holds a link that leads out of it, to {end!r}. Pass that file "
            f"itself as another path, or replace the link by a copy. {leads}"
        )
    return found


def _raise(error: OSError) -> None:
    raise error  # os.walk would leave out folders that it cannot read
