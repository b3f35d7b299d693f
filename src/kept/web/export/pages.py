"""Which pages an export has, and the file of each one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kept.names import BEST, check_name, is_automatic
from kept.store.log.lookup import with_live_versions
from kept.web.pages.artifact import artifact_page, artifact_sheet
from kept.web.pages.compare import compare_page
from kept.web.pages.log import log_page
from kept.web.pages.store import store_page
from kept.web.pages.version import version_page
from kept.web.query import Query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.store.log.history import VersionRecord
    from kept.web.page import Download, Page
    from kept.web.reading.reader import Reader

MOST_VERSIONS = 500  # of an artifact that have a page: the newest ones, and those with aliases
MOST_PAGES = 50  # of a list; parts.html has the same number
_MOST_COMPARED = 20  # of the newest versions, each with the one before
_ALL_PARTS = [("with", part) for part in ("layers", "lineage", "history")]
_ALL_CHANGES = [("with", part) for part in ("changes", "config")]


@dataclass(frozen=True)
class File:
    """A file of an export; a list takes several."""

    folder: str  # below that of the export, "artifacts/m/"
    name: str = "index.html"

    def make(self, reader: Reader, number: int) -> Page | Download:
        """Return the content; number is the page of a list."""
        raise NotImplementedError

    def pages(self, made: Page) -> int:  # noqa: ARG002 - for lists
        """Return how many files the list takes, by its first page."""
        return 1


class _StoreList(File):
    def make(self, reader: Reader, number: int) -> Page:
        return store_page(reader, _numbered(number))

    def pages(self, made: Page) -> int:
        return min(int(made.values.get("pages", 1)), MOST_PAGES)


@dataclass(frozen=True)
class _Log(File):
    artifact: str = ""

    def make(self, reader: Reader, number: int) -> Page:  # noqa: ARG002 - the newest changes
        return log_page(reader, Query([("name", self.artifact)] if self.artifact else ()))


@dataclass(frozen=True)
class _ArtifactList(File):
    artifact: str = ""

    def make(self, reader: Reader, number: int) -> Page:
        return artifact_page(reader, _numbered(number), self.artifact)

    def pages(self, made: Page) -> int:
        table: Any = made.values.get("table")
        return min(int(table.pages), MOST_PAGES) if table else 1


@dataclass(frozen=True)
class _Sheet(File):
    artifact: str = ""

    def make(self, reader: Reader, number: int) -> Download:  # noqa: ARG002 - no list
        return artifact_sheet(reader, Query(), self.artifact)


@dataclass(frozen=True)
class _Version(File):
    artifact: str = ""
    index: int = 0

    def make(self, reader: Reader, number: int) -> Page:  # noqa: ARG002 - no list
        return version_page(reader, Query(_ALL_PARTS), self.artifact, self.index)


@dataclass(frozen=True)
class _Comparison(File):
    references: tuple[str, ...] = ()

    def make(self, reader: Reader, number: int) -> Page:  # noqa: ARG002 - no list
        pairs = [("v", reference) for reference in self.references]
        return compare_page(reader, Query([*pairs, *_ALL_CHANGES]))


def _numbered(number: int) -> Query:
    return Query([("page", str(number))]) if number > 1 else Query()


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
    only = names[0] if len(names) == 1 else ""
    files: list[File] = [_StoreList(""), _Log("log/", artifact=only)]
    partial, left_out = set(), 0
    for name in map(check_name, listed):
        live = reader.versions(name).live
        shown = _with_page(live)
        if len(shown) < len(live):
            partial.add(name)
            left_out += len(live) - len(shown)
        files += _of_artifact(name, shown)
    folders = frozenset(file.folder for file in files)
    return Contents(files, folders, frozenset(partial), left_out)


def _with_page(newest_first: list[VersionRecord]) -> list[VersionRecord]:
    older = newest_first[MOST_VERSIONS:]
    named = [record for record in older if not all(map(is_automatic, record.aliases))]
    return newest_first[:MOST_VERSIONS] + named


def _of_artifact(name: str, shown: list[VersionRecord]) -> Iterator[File]:
    place = f"artifacts/{name}/"
    yield _ArtifactList(place, artifact=name)
    yield _Sheet(place, "table.csv", name)
    for record in shown:
        yield _Version(f"{place}v{record.index}/", artifact=name, index=record.index)
    for first, second in _compared(shown):
        pair = (f"{name}:v{first}", f"{name}:v{second}")
        yield _Comparison(f"compare/{name}/v{first}..v{second}/", references=pair)


def _compared(newest_first: list[VersionRecord]) -> list[tuple[int, int]]:
    """Return the pairs that are compared: with the one before, and the newest one with best."""
    some = newest_first[: _MOST_COMPARED + 1]
    pairs = [(older.index, newer.index) for newer, older in itertools.pairwise(some)]
    best = next((r.index for r in newest_first if BEST in r.aliases), None)
    if best is not None and best != newest_first[0].index:
        pairs.append((best, newest_first[0].index))
    return list(dict.fromkeys(pairs))
