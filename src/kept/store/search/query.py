"""What a search asks for, and the order of its answer.

Missing values come last in both directions. Numbers come before texts; lists, true and false count
as missing. Of equal versions the newest comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput
from kept.store.condition.fields import canonical_name
from kept.store.condition.literal import Value, glob_pattern
from kept.store.condition.parse import parse
from kept.store.search.cells import cell_of

if TYPE_CHECKING:
    from kept.store.condition.nodes import Condition
    from kept.store.search.cells import Cell
    from kept.store.search.rows import Row

Values = Mapping[str, Value]
_GLOB = ("*", "?")


@dataclass(frozen=True, slots=True)
class SortKey:
    """A name to sort by."""

    name: str
    is_descending: bool = False


NEWEST = SortKey("created", is_descending=True)
TIES = (NEWEST, SortKey("artifact"), SortKey("version", is_descending=True))


@dataclass(frozen=True, slots=True)
class Query:
    """Which versions a search returns, and in which order."""

    where: Condition | None = None
    sort: tuple[SortKey, ...] = ()
    limit: int | None = None
    name: str | None = None  # of an artifact, or a glob with * and ?

    @property
    def order(self) -> tuple[SortKey, ...]:
        """The keys to sort by, with those that decide between equal versions."""
        return (*self.sort, *TIES)

    @property
    def is_glob(self) -> bool:
        """Whether the name stands for several artifacts."""
        return self.name is not None and any(sign in self.name for sign in _GLOB)

    def of_names(self, names: Iterable[str]) -> list[str]:
        """Return the artifacts that the query is about, for a glob or none those of the names."""
        if self.name is None:
            return list(names)
        if not self.is_glob:
            return [self.name]
        pattern = glob_pattern(self.name)
        return [name for name in names if pattern.fullmatch(name)]

    def holds(self, values: Values) -> bool:
        """Return whether the condition, if any, holds for the values of a version."""
        return self.where is None or self.where.holds(values)


def query_of(
    where: str | None, sort: str | Iterable[str] | None, limit: int | None, name: str | None
) -> Query:
    """Return a query from what a user passes; raises InvalidInput or InvalidCondition."""
    if limit is not None and (type(limit) is not int or limit < 0):
        raise InvalidInput(f"limit is a number of versions, or None. Received: {limit!r}")
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidInput(f"name is an artifact, or a glob such as 'run_*'. Received: {name!r}")
    keys = (sort,) if isinstance(sort, str) else tuple(sort or ())
    return Query(None if where is None else parse(where), tuple(map(_key, keys)), limit, name)


def _key(text: str) -> SortKey:
    name = text.removeprefix("-") if isinstance(text, str) else ""
    if not name:
        raise InvalidInput(
            f"sort is a name such as 'val_loss', or '-val_loss' for the largest first. "
            f"Received: {text!r}"
        )
    return SortKey(canonical_name(name), is_descending=text.startswith("-"))


def ordered(rows: Iterable[Row], query: Query) -> list[Row]:
    """Return rows in the order of a query, as many as it wants."""
    found = list(rows)
    for key in reversed(query.order):  # sorting is stable, so the first key decides last
        found = _sorted(found, key)
    return found if query.limit is None else found[: query.limit]


def _sorted(rows: list[Row], key: SortKey) -> list[Row]:
    cells: list[tuple[Any, Row]] = [(_cell(row, key.name), row) for row in rows]
    numbers = [each for each in cells if isinstance(each[0], (int, float))]
    texts = [each for each in cells if isinstance(each[0], str)]
    missing = [row for cell, row in cells if cell is None or isinstance(cell, bytes)]
    for part in (numbers, texts):
        part.sort(key=itemgetter(0), reverse=key.is_descending)
    return [row for _, row in (*numbers, *texts)] + missing


def _cell(row: Row, name: str) -> Cell | None:
    value = row.values.get(name)
    return None if value is None else cell_of(value)
