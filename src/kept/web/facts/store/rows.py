"""The rows of the first page: searched, filtered, sorted, and in pages; and the line of totals."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.errors import InvalidCondition
from kept.store.search.query import query_of
from kept.store.search.search import select

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.log.log import Logs
    from kept.web.query import Query
    from kept.web.reading.standing import Standing

PAGE = 200  # rows
NEWEST_FIRST = "-updated"
_NAMES = re.compile(r"[\w.*?-]+(\s+[\w.*?-]+)*")
_KEYWORD = re.compile(r"\b(and|or|not|in)\b", re.IGNORECASE)


class Stored(NamedTuple):
    """The bytes that versions take, as far as their saves have counted them."""

    logical: int
    size: int | None  # None if few saves have counted them
    is_least: bool = False  # some saves have not counted theirs
    is_most: bool = False  # versions that are deleted may share some of the bytes

    @property
    def sign(self) -> str:
        """What stands before the number in a table."""
        return "≥ " if self.is_least else "≤ " if self.is_most else ""

    @property
    def words(self) -> tuple[str, str]:
        """What stands before the stored bytes in a sentence, and before the saved ones."""
        if self.is_least:
            return "at least ", "at most "
        return ("at most ", "at least ") if self.is_most else ("", "")

    @property
    def saved(self) -> int | None:
        """The saved bytes in percent; None if that is not known, or nothing."""
        if self.size is None or self.is_least or not self.logical:
            return None
        return int(100 * (1 - self.size / self.logical)) or None


def stored_by(standings: Iterable[Standing]) -> Stored:
    """Return the bytes that artifacts take together."""
    rows = list(standings)
    logical = sum(row.logical for row in rows)
    unmeasured = sum(row.unmeasured for row in rows)
    if 2 * unmeasured > sum(row.versions for row in rows):  # the rest says little
        return Stored(logical, None)
    least, most = sum(row.least for row in rows), sum(row.most for row in rows)
    if unmeasured:
        return Stored(logical, least, is_least=True)
    return Stored(logical, most, is_most=most > least)


class Fits(NamedTuple):
    """The versions of an artifact that fit a condition."""

    versions: int
    newest: int  # the number of the newest one


class Found(NamedTuple):
    """What a search has found."""

    rows: list[Standing]
    fits: dict[str, Fits] | None = None  # by artifact, if the search is a condition
    error: str | None = None  # why the condition cannot be read


def found(logs: Logs, rows: Iterable[Standing], text: str) -> Found:
    """Return the artifacts that a text finds: parts of names, globs, or a condition on versions.

    A text of words is about names; anything else is a condition, as kept ls --where takes it.
    """
    text = text.strip()
    if not text:
        return Found(list(rows))
    if _NAMES.fullmatch(text) and not _KEYWORD.search(text):
        words = text.lower().split()
        return Found([row for row in rows if all(_names(word, row.name.lower()) for word in words)])
    try:
        query = query_of(text, None, None, None)
    except InvalidCondition as error:
        return Found([], error=str(error))
    versions: dict[str, list[int]] = {}
    for name, version in select(logs, query, ("artifact", "version")).rows:
        versions.setdefault(str(name), []).append(_number(version))
    fits = {name: Fits(len(numbers), max(numbers)) for name, numbers in versions.items()}
    return Found([row for row in rows if row.name in fits], fits)


def _names(word: str, name: str) -> bool:
    return fnmatchcase(name, word) if "*" in word or "?" in word else word in name


def _number(version: object) -> int:
    return int(str(version).removeprefix("v"))


def chosen(rows: list[Standing], query: Query, live: set[str]) -> list[Standing]:
    """Return the rows that the filters of an address leave."""
    wanted = query.get("type")
    is_removed = query.get("show") == "removed"
    return [
        row
        for row in rows
        if row.is_removed == is_removed
        and (not wanted or row.type == wanted)
        and (query.get("show") != "live" or row.name in live)
        and (query.get("show") != "unhealthy" or row.health or row.damage)
    ]


def ordered(rows: list[Standing], order: str) -> list[Standing]:
    """Return rows in the order of a column, "-name" for the largest first; without values last."""
    key = order.removeprefix("-")
    get = _COLUMNS.get(key, _COLUMNS["updated"])
    rows = sorted(rows, key=lambda row: row.name)
    having = [(value, row) for row in rows if (value := _value(row, get)) is not None]
    having.sort(key=lambda pair: pair[0], reverse=order.startswith("-"))
    names = {row.name for _, row in having}
    return [row for _, row in having] + [row for row in rows if row.name not in names]


_COLUMNS = {
    "name": "name", "updated": "updated", "versions": "versions", "stored": "most",
    "size": "logical", "latest": "newest", "best": "best_value", "metric": "value",
}  # fmt: skip


def _value(row: Standing, field: str) -> Any:
    value = getattr(row, field)
    return value.lower() if field == "name" else value


def page_of(rows: list[Standing], page: int) -> tuple[list[Standing], int, int]:
    """Return the rows of a page, its number, and how many pages exist."""
    pages = max(1, -(-len(rows) // PAGE))
    page = min(page, pages)
    return rows[(page - 1) * PAGE : page * PAGE], page, pages


def types_of(rows: Iterable[Standing]) -> list[str]:
    """Return the types of artifacts, by name."""
    return sorted({row.type for row in rows if row.type})


def aliases_elsewhere(row: Standing) -> Iterator[tuple[str, int]]:
    """Yield the aliases that people have put on other versions than the best one."""
    return ((alias, index) for alias, index in row.aliases if index != row.best)
