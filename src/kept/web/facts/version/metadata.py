"""Nested values as rows of a table: metadata, configuration, provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.units import value_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.encoding import Json

MOST = 100  # rows of a table
_LONGEST = 100_000  # characters of a text that a search looks at
_MOST_READ = 10_000  # values


class Value(NamedTuple):
    """A value, and the keys that lead to it."""

    path: str  # "optimizer.learning_rate"
    value: Json


class Values(NamedTuple):
    """A page of values."""

    rows: list[Value]
    found: int  # of all that fit the search
    page: int  # from 1
    pages: int


def flat(value: Mapping[str, Json]) -> list[Value]:
    """Return the values of nested objects, each with its path; a list is one value.

    No recursion, because a user can store 1,000 levels.
    """
    found: list[Value] = []
    waiting: list[Value] = [Value(key, each) for key, each in reversed(list(value.items()))]
    while waiting and len(found) < _MOST_READ:
        path, each = waiting.pop()
        if isinstance(each, dict) and each:
            inner = [Value(f"{path}.{key}", one) for key, one in each.items()]
            waiting += reversed(inner)
        else:
            found.append(Value(path, each))
    return found


def searched(value: Mapping[str, Json], text: str, page: int) -> Values:
    """Return a page of the values whose path or text contains a text."""
    wanted = text.strip().lower()
    rows = [row for row in flat(value) if not wanted or _fits(row, wanted)]
    pages = max(-(-len(rows) // MOST), 1)
    page = min(max(page, 1), pages)
    return Values(rows[(page - 1) * MOST : page * MOST], len(rows), page, pages)


def _fits(row: Value, wanted: str) -> bool:
    return wanted in row.path.lower() or wanted in value_text(row.value)[:_LONGEST].lower()
