"""Which pages an export has, and the file of each one."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.errors import KeptError
from kept.names import BEST, check_name, is_automatic
from kept.store.log.lookup import with_live_versions
from kept.web.page import Download, Page
from kept.web.pages.artifact import artifact_page, artifact_sheet
from kept.web.pages.compare import compare_page
from kept.web.pages.store import store_page
from kept.web.pages.version import version_page
from kept.web.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kept.store.log.history import VersionRecord
    from kept.web.reader import Reader

MOST_VERSIONS = 500  # of an artifact that have a page: the newest ones, and those with aliases
_MOST_COMPARED = 20  # of the newest versions, each with the one before
_MOST_PAGES = 50  # of a list
_ALL_PARTS = [("with", part) for part in ("layers", "lineage", "history")]
_ALL_CHANGES = [("with", part) for part in ("changes", "config")]


class File(NamedTuple):
    """A file of an export, and what makes its content."""

    folder: str  # below that of the export, "artifacts/m/"
    name: str
    make: Callable[[], Page | Download]
    pages: Callable[[Page], int] | None = None  # of a list: how many files it takes
    again: Callable[[int], Page] | None = None  # one of the later ones


@dataclass(frozen=True)
class Contents:
    """What an export has."""

    files: list[File]
    folders: frozenset[str]  # that have an index.html
    partial: frozenset[str]  # artifacts with versions that have no page
    left_out: int  # versions without a page


def contents(reader: Reader, names: Sequence[str]) -> Contents:
    """Return the files of an export of these artifacts, or of all without names."""
    listed = list(names) or sorted(with_live_versions(reader.store.logs))
    files, partial, left_out = [*_lists(reader)], set(), 0
    for name in map(check_name, listed):
        live = reader.versions(name).live
        shown = _with_page(live)
        if len(shown) < len(live):
            partial.add(name)
            left_out += len(live) - len(shown)
        files += _of_artifact(reader, name, shown)
    folders = frozenset(file.folder for file in files)
    return Contents(files, folders, frozenset(partial), left_out)


def _with_page(newest_first: list[VersionRecord]) -> list[VersionRecord]:
    return newest_first[:MOST_VERSIONS] + [
        record
        for record in newest_first[MOST_VERSIONS:]
        if not all(map(is_automatic, record.aliases))
    ]


def _lists(reader: Reader) -> Iterator[File]:
    yield _list("", functools.partial(store_page, reader), Query())


def _list(folder: str, view: Callable[[Query], Page], query: Query) -> File:
    return File(
        folder,
        "index.html",
        functools.partial(view, query),
        _pages_of,
        lambda number: view(query.but(page=number)),
    )


def _pages_of(page: Page) -> int:
    table: Any = page.values.get("table")
    found = page.values.get("pages") if table is None else table.pages
    return min(int(found or 1), _MOST_PAGES)


def _of_artifact(reader: Reader, name: str, shown: list[VersionRecord]) -> Iterator[File]:
    place = f"artifacts/{name}/"
    yield _list(place, lambda query: artifact_page(reader, query, name), Query())
    yield File(place, "table.csv", functools.partial(artifact_sheet, reader, Query(), name))
    for record in shown:
        page = functools.partial(version_page, reader, Query(_ALL_PARTS), name, record.index)
        yield File(f"{place}v{record.index}/", "index.html", page)
    for first, second in _compared(shown):
        pairs = [("v", f"{name}:v{first}"), ("v", f"{name}:v{second}"), *_ALL_CHANGES]
        page = functools.partial(compare_page, reader, Query(pairs))
        yield File(f"compare/{name}/v{first}..v{second}/", "index.html", page)


def _compared(newest_first: list[VersionRecord]) -> list[tuple[int, int]]:
    """Return the pairs that are compared: with the one before, and the newest one with best."""
    some = newest_first[: _MOST_COMPARED + 1]
    pairs = [(b.index, a.index) for a, b in itertools.pairwise(some)]
    best = next((r.index for r in newest_first if BEST in r.aliases), None)
    if best is not None and best != newest_first[0].index:
        pairs.append((best, newest_first[0].index))
    return list(dict.fromkeys(pairs))


def made(file: File) -> Page | Download:
    """Return the content of a file; a page that says what failed instead of raising KeptError."""
    try:
        return file.make()
    except KeptError as error:
        return Page("error.html", "Error", {"error": str(error), "status": 500})
