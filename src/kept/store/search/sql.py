"""Conditions and orders in SQL, for a table whose cells are those of cells.py.

Each expression returns 1 or 0, never NULL, so that NOT means the same as in Python.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kept.store.condition.literal import holds
from kept.store.condition.nodes import Both, Comparison, Condition, Has, Node, Not
from kept.store.search.cells import Cell, cell_of, json_cell, name_cell, name_of, value_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from kept.store.condition.literal import Literal
    from kept.store.search.query import SortKey

_LONGEST_GLOB = 50_000  # bytes, of SQLite
_WILD = re.compile(r"[*?]")
HOLDS, REST = "kept_holds", "kept_rest"


class Place(NamedTuple):
    """Where the values of a name are."""

    number: int
    is_shared: bool  # whether versions share some of them


@dataclass
class Sql:
    """Builds the parts of a SELECT of versions, joined with what they share."""

    places: Mapping[str, Place]  # by name
    columns: int  # the names of lower places have a column
    parameters: list[Cell] = field(default_factory=list)  # of the conditions written so far
    called: list[Comparison] = field(default_factory=list)  # that Python checks for some cells

    def column(self, name: str) -> str:
        """Return the expression of a name's cell."""
        place = self.places.get(name)
        if place is None:
            return "NULL"
        if place.number < self.columns:
            own, shared = f"c{place.number}", f"s{place.number}"
        else:
            quoted = name_cell(name).replace("'", "''")
            own, shared = f"{REST}(versions.rest, '{quoted}')", f"{REST}(shared.rest, '{quoted}')"
        return f"COALESCE({own}, {shared})" if place.is_shared else own

    def condition(self, node: Node) -> str:
        """Return the expression of a condition; its parameters follow those before it."""
        match node:
            case Both(parts, any_part):
                return (
                    "(" + (" OR " if any_part else " AND ").join(map(self.condition, parts)) + ")"
                )
            case Not(part):
                return f"(NOT {self.condition(part)})"
            case Has(name):
                column = self.column(name)
                return f"({column} IS NOT NULL AND {column} IS NOT x'5b5d')"  # []
        return self._comparison(node)

    def order(self, keys: Iterable[SortKey]) -> str:
        """Return the terms of ORDER BY."""
        return ", ".join(self._term(key) for key in keys)

    def _term(self, key: SortKey) -> str:
        column = self.column(key.name)
        kind = f"typeof({column})"
        rank = f"CASE {kind} WHEN 'text' THEN 1 WHEN 'blob' THEN 2 WHEN 'null' THEN 2 ELSE 0 END"
        cell = f"CASE {kind} WHEN 'blob' THEN NULL ELSE {column} END"
        return f"{rank}, {cell}{' DESC' if key.is_descending else ''}"

    def _comparison(self, node: Comparison) -> str:
        column = self.column(node.name)
        no = "NOT " if node.is_negative else ""
        cases = [f"CASE typeof({column}) WHEN 'null' THEN 0"]
        for kind, expression in (
            ("text", self._of_text(node, column)),
            ("blob", self._of_blob(node, column)),
        ):
            cases.append(f"WHEN '{kind}' THEN {no}({expression})")
        return " ".join([*cases, f"ELSE {no}({self._of_number(node, column)}) END"])

    def _of_text(self, node: Comparison, column: str) -> str:
        if node.symbol == "=":
            return self._among([cell_of(each.text) for each in node.literals], column)
        (literal,) = node.literals
        text = cell_of(literal.text)
        if node.symbol == "~":
            if isinstance(text, bytes):
                return self._call(node, column)
            # SQLite reads [ as a set of characters; here it is itself.
            glob = literal.text.replace("[", "[[]")
            is_long = len(glob.encode()) > _LONGEST_GLOB
            return self._call(node, column) if is_long else self._with(f"{column} GLOB ?", glob)
        if literal.number is not None:
            return "0"
        if isinstance(text, bytes):
            return self._call(node, column)
        return self._with(f"{column} {node.symbol} ?", text)

    def _of_number(self, node: Comparison, column: str) -> str:
        numbers: list[Cell] = [each.number for each in node.literals if each.number is not None]
        if node.symbol == "=":
            return self._among(numbers, column)
        if node.symbol == "~" or not numbers:
            return "0"
        return self._with(f"{column} {node.symbol} ?", numbers[0])

    def _of_blob(self, node: Comparison, column: str) -> str:
        if node.symbol == "~":  # Python is called only for what may fit, because it is slow
            longest = max(_WILD.split(node.literals[0].text), key=len)
            may_fit = self._with(f"instr({column}, ?) > 0", json_cell(longest)[1:-1] or b'"')
            return f"{may_fit} AND {self._call(node, column)}"
        if node.symbol != "=" or not all(map(_is_text, node.literals)):
            return self._call(node, column)
        found = [
            self._with(f"instr({column}, ?) > 0", json_cell(each.text)) for each in node.literals
        ]
        return "(" + " OR ".join(found) + ")"

    def _among(self, cells: list[Cell], column: str) -> str:
        if not cells:
            return "0"
        self.parameters.extend(cells)
        return f"{column} IN ({', '.join('?' * len(cells))})"

    def _with(self, expression: str, cell: Cell) -> str:
        self.parameters.append(cell)
        return expression

    def _call(self, node: Comparison, column: str) -> str:
        self.called.append(node)
        return f"{HOLDS}({len(self.called) - 1}, {column})"

    def offer(self, connection: sqlite3.Connection) -> None:
        """Let SQLite call the Python functions that the expressions need."""

        @functools.lru_cache(maxsize=65_536)  # many versions have the same lists
        def holds_for(number: int, cell: Cell) -> bool:
            node, value = self.called[number], value_of(cell)
            return value is not None and holds(node.symbol, node.literals, value)

        connection.create_function(HOLDS, 2, holds_for, deterministic=True)


def offer_rest(connection: sqlite3.Connection) -> None:
    """Let SQLite find a cell in the column rest."""
    parsed = functools.lru_cache(maxsize=16)(json.loads)  # a row is asked for several names

    def cell_in(rest: str | None, name: str) -> Cell | None:
        value = parsed(rest).get(name_of(name)) if rest else None
        return None if value is None else cell_of(tuple(value) if type(value) is list else value)

    connection.create_function(REST, 2, cell_in, deterministic=True)


def where_of(sql: Sql, condition: Condition | None) -> str:
    """Return the expression of a condition, or of none."""
    return "1" if condition is None else sql.condition(condition.root)


def _is_text(literal: Literal) -> bool:
    return literal.number is None and literal.flag is None
