"""The index: a table of all live versions in a file of SQLite, with a column for each name.

It is a cache. A writer replaces the rows of an artifact only if they are still those that it found
outdated, so an old answer never replaces a newer one.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, NamedTuple, Self

from kept.store.search.cells import Cell, cell_of
from kept.store.search.sql import Sql, offer_rest, where_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.condition.literal import Value
    from kept.store.search.query import Query
    from kept.store.search.rows import Read

_VERSION = 1  # of the tables; another one is built again
_COLUMNS = 500  # names with a column of their own; the values of others are in rest
_AT_ONCE = 1000  # columns of an answer; SQLite has at most 2000
_WAIT = 60.0  # seconds for another process that writes
_TABLES = """
    CREATE TABLE IF NOT EXISTS artifacts (
        id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, head INTEGER NOT NULL, stamp TEXT,
        faults TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, place INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS versions (artifact INTEGER NOT NULL, rest TEXT);
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
                    run("DELETE FROM versions WHERE artifact = ?", (before[name].id,))
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
        columns = {name: f"c{place}" for name, place in places.items() if place < _COLUMNS}
        sql = Sql(columns, has_rest=len(places) > len(columns))
        wanted = ", ".join(sql.column(name) for name in names)
        of_name = "1"
        if query.name is not None:
            of_name = "artifact IN (SELECT id FROM artifacts WHERE name GLOB ?)"
            sql.parameters.append(query.name.replace("[", "[[]"))
        where = f"{of_name} AND {where_of(sql, query.where)}"
        order = sql.order(query.order)
        limit = "" if query.limit is None else f"LIMIT {query.limit}"
        sql.offer(self._connection)
        text = f"SELECT {wanted} FROM versions WHERE {where} ORDER BY {order} {limit}"  # noqa: S608 - names are columns c0 to c499, or quoted
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

    def _places(self) -> dict[str, int]:
        found = self._connection.execute("SELECT name, place FROM names ORDER BY place")
        return dict(found.fetchall())

    def _replace(self, read: Read, before: dict[str, Known], places: dict[str, int]) -> bool:
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

    def _insert(self, number: int, read: Read, places: dict[str, int]) -> None:
        used = dict.fromkeys(name for row in read.rows for name in row.values)
        self._add(used, places)
        own = [name for name in used if places[name] < _COLUMNS]
        others = [name for name in used if places[name] >= _COLUMNS]
        columns = "".join(f", c{places[name]}" for name in own)
        marks = ", ?" * len(own)
        self._connection.executemany(
            f"INSERT INTO versions (artifact, rest{columns}) VALUES (?, ?{marks})",  # noqa: S608 - see select
            (
                (number, _rest(values, others), *(_cell(values.get(name)) for name in own))
                for _, _, values in read.rows
            ),
        )

    def _add(self, names: Iterable[str], places: dict[str, int]) -> None:
        for name in names:
            if name not in places:
                place = places[name] = len(places)
                run = self._connection.execute
                run("INSERT INTO names VALUES (?, ?)", (name, place))
                if place < _COLUMNS:
                    run(f"ALTER TABLE versions ADD COLUMN c{place}")

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
