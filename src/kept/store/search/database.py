"""The index: a table of all live versions in a file of SQLite, with a column for each name.

The provenance of versions is in a second table, because all versions of a run share it.

It is a cache. A writer replaces the rows of an artifact only if they are still those that it found
outdated, so an old answer never replaces a newer one.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from kept.digest import digest
from kept.store.search.cells import Cell, cell_of, name_cell, name_of
from kept.store.search.sql import Place, Sql, offer_rest, where_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.condition.literal import Value
    from kept.store.search.query import Query
    from kept.store.search.rows import Read

_VERSION = 3  # of the tables; another one is built again
_COLUMNS = 500  # names with a column of their own; the values of others are in rest
_AT_ONCE = 1000  # columns of an answer; SQLite has at most 2000
_WAIT = 60.0  # seconds for another process that writes
_TABLES = """
    CREATE TABLE IF NOT EXISTS artifacts (
        id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, head INTEGER NOT NULL, stamp TEXT,
        faults TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS names (
        name TEXT PRIMARY KEY, place INTEGER NOT NULL, is_shared INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS versions (artifact INTEGER NOT NULL, shared INTEGER, rest TEXT);
    CREATE TABLE IF NOT EXISTS shared (id INTEGER PRIMARY KEY, digest TEXT UNIQUE, rest TEXT);
    CREATE INDEX IF NOT EXISTS of_artifact ON versions (artifact);
"""


class Known(NamedTuple):
    """What the index knows of an artifact."""

    id: int
    head: int
    stamp: str | None
    faults: tuple[str, ...]


class Database:
    """The index of one store. Use it in one thread, as a context manager."""

    def __init__(self, path: str) -> None:
        """Open or create it; raises sqlite3.Error."""
        self._connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
        try:
            self._open()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _open(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA mmap_size = 1073741824")
        run("PRAGMA temp_store = MEMORY")
        (version,) = run("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"the tables have version {version}")
        if version == 0:
            with self._writing():
                for statement in _TABLES.split(";"):
                    run(statement)
                run(f"PRAGMA user_version = {_VERSION}")
        offer_rest(self._connection)

    def known(self) -> dict[str, Known]:
        """Return what it knows, by artifact."""
        found = self._connection.execute("SELECT name, id, head, stamp, faults FROM artifacts")
        return {
            name: Known(number, head, stamp, tuple(json.loads(faults)))
            for name, number, head, stamp, faults in found
        }

    def replace(self, reads: Iterable[Read], before: dict[str, Known]) -> list[str]:
        """Store what logs said; return the artifacts that another process has replaced since.

        before is what the index knew when the logs were found outdated.
        """
        with self._writing():
            places = self._places()
            return [read.name for read in reads if not self._replace(read, before, places)]

    def forget(self, names: Iterable[str], before: dict[str, Known]) -> None:
        """Remove artifacts that the store no longer has, unless they have changed since."""
        with self._writing():
            for name in names:
                if self._known(name) == before[name]:
                    run = self._connection.execute
                    run("DELETE FROM {joined} WHERE artifact = ?", (before[name].id,))
                    run("DELETE FROM artifacts WHERE id = ?", (before[name].id,))

    def select(self, query: Query, names: Iterable[str]) -> list[tuple[Cell | None, ...]]:
        """Return the cells of these names for each version that a query wants, in its order."""
        wanted = list(names)
        parts = [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]
        self._connection.execute("BEGIN")  # all parts see the same rows
        try:
            found = [self._select(query, part) for part in parts]
        finally:
            self._connection.execute("COMMIT")
        return found[0] if len(found) == 1 else [sum(row, ()) for row in zip(*found, strict=True)]

    def _select(self, query: Query, names: list[str]) -> list[tuple[Cell | None, ...]]:
        places = self._places()
        sql = Sql(places, _COLUMNS)
        wanted = ", ".join(sql.column(name) for name in names)
        of_name = "1"
        if query.name is not None:
            of_name = "artifact IN (SELECT id FROM artifacts WHERE name GLOB ?)"
            sql.parameters.append(query.name.replace("[", "[[]"))
        where = f"{of_name} AND {where_of(sql, query.where)}"
        order = sql.order(query.order)
        limit = "" if query.limit is None else f"LIMIT {query.limit}"
        sql.offer(self._connection)
        joined = "versions LEFT JOIN shared ON shared.id = versions.shared"
        text = f"SELECT {wanted} FROM {joined} WHERE {where} ORDER BY {order} {limit}"  # noqa: S608 - names are columns c0 to c499, or quoted
        return self._connection.execute(text, sql.parameters).fetchall()

    def names(self) -> list[str]:
        """Return the names that a version has, or had."""
        return list(self._places())

    def _known(self, name: str) -> Known | None:
        found = self._connection.execute(
            "SELECT id, head, stamp, faults FROM artifacts WHERE name = ?", (name,)
        ).fetchone()
        if found is None:
            return None
        number, head, stamp, faults = found
        return Known(number, head, stamp, tuple(json.loads(faults)))

    def _places(self) -> dict[str, Place]:
        found = self._connection.execute("SELECT name, place, is_shared FROM names ORDER BY place")
        return {name_of(cell): Place(number, bool(is_shared)) for cell, number, is_shared in found}

    def _replace(self, read: Read, before: dict[str, Known], places: dict[str, Place]) -> bool:
        run = self._connection.execute
        if self._known(read.name) != before.get(read.name):
            return False
        if read.name in before:
            run("DELETE FROM versions WHERE artifact = ?", (before[read.name].id,))
        run(
            "INSERT INTO artifacts (name, head, stamp, faults) VALUES (?, ?, ?, ?) ON CONFLICT "
            "(name) DO UPDATE SET head = excluded.head, stamp = excluded.stamp, "
            "faults = excluded.faults",
            (read.name, read.head, read.stamp, json.dumps(read.faults)),
        )
        number = run("SELECT id FROM artifacts WHERE name = ?", (read.name,)).fetchone()[0]
        self._insert(number, read, places)
        return True

    def _insert(self, number: int, read: Read, places: dict[str, Place]) -> None:
        numbers: dict[int, int | None] = {}
        for row in read.rows:
            if id(row.shared) not in numbers:
                numbers[id(row.shared)] = self._share(row.shared, places)
        if not read.rows:
            return
        heads = [(number, numbers[id(row.shared)]) for row in read.rows]
        self._write("versions (artifact, shared", heads, [row.own for row in read.rows], places)

    def _share(self, values: dict[str, Value], places: dict[str, Place]) -> int | None:
        """Return the number of values that versions share; they are stored once."""
        if not values:
            return None
        key = digest(json.dumps(values, sort_keys=True).encode())
        find = "SELECT id FROM shared WHERE digest = ?"
        found = self._connection.execute(find, (key,)).fetchone()
        if found is None:
            self._write("shared (digest", [(key,)], [values], places)
            found = self._connection.execute(find, (key,)).fetchone()
        return int(found[0])

    def _write(
        self,
        start: str,
        heads: list[tuple[Any, ...]],
        rows: list[dict[str, Value]],
        places: dict[str, Place],
    ) -> None:
        """Insert rows, each with a head; start is the table and the columns of the heads."""
        is_shared = start.startswith("shared")
        used = dict.fromkeys(name for values in rows for name in values)
        self._add(used, places, is_shared=is_shared)
        own = [name for name in used if places[name].number < _COLUMNS]
        others = [name for name in used if places[name].number >= _COLUMNS]
        columns = "".join(f", {'s' if is_shared else 'c'}{places[name].number}" for name in own)
        width = len(heads[0]) + 1 + len(own)
        self._connection.executemany(
            f"INSERT INTO {start}, rest{columns}) VALUES ({', '.join('?' * width)})",  # noqa: S608 - see _select
            (
                (*head, _rest(values, others), *(_cell(values.get(name)) for name in own))
                for head, values in zip(heads, rows, strict=True)
            ),
        )

    def _add(self, names: Iterable[str], places: dict[str, Place], *, is_shared: bool) -> None:
        run = self._connection.execute
        for name in names:
            if name not in places:
                number = len(places)
                run("INSERT INTO names VALUES (?, ?, ?)", (name_cell(name), number, is_shared))
                places[name] = Place(number, is_shared)
                if number < _COLUMNS:
                    run(f"ALTER TABLE versions ADD COLUMN c{number}")
                    run(f"ALTER TABLE shared ADD COLUMN s{number}")
            elif is_shared and not places[name].is_shared:
                run("UPDATE names SET is_shared = 1 WHERE name = ?", (name_cell(name),))
                places[name] = Place(places[name].number, is_shared=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _cell(value: Value | None) -> Cell | None:
    return None if value is None else cell_of(value)


def _rest(values: dict[str, Value], names: list[str]) -> str | None:
    found = {name: values[name] for name in names if name in values}
    return json.dumps(found) if found else None
