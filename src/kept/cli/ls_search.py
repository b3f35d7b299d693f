"""kept ls with a condition, an order or a glob: lists the versions of all artifacts that fit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import version_json
from kept.cli.output import Column, clean, local_time, print_json_list, print_table
from kept.progress import progress
from kept.units import metric_text, size_text

if TYPE_CHECKING:
    from kept.store.condition.literal import Value
    from kept.store.search.query import Query
    from kept.store.store import Store

_REFERENCE = ("artifact", "version")
_ALWAYS = ("aliases", "size", "created")  # the last columns, unless others are asked for
_UNASKED = ("monitor", "value")  # without a condition and an order
_RIGHT = (int, float)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a search."""

    name: str | None
    where: str | None = None
    sort: tuple[str, ...] = ()
    limit: int | None = None
    columns: str | None = None
    no_index: bool = False


def list_found(store: Store, asked: Asked, *, as_json: bool) -> None:
    """Print the versions that fit, as a table or as JSON."""
    from kept.store.search.query import query_of
    from kept.store.search.search import search, select
    from kept.store.version import Version

    query = query_of(asked.where, asked.sort, asked.limit, asked.name)
    use_index = not asked.no_index
    fields = _fields(query, asked)
    with progress("Reading logs", "artifacts") as update:
        if as_json and not asked.columns:
            found = search(store.logs, query, use_index=use_index, progress=update)
            print_json_list(version_json(Version(store, *each)) for each in reversed(found))
            return
        wanted = [*_REFERENCE, *fields]
        selection = select(store.logs, query, wanted, use_index=use_index, progress=update)
    rows = selection.rows
    if not (as_json or asked.columns):
        fields, rows = _without_empty(fields, rows)
    if as_json:
        print_json_list(
            {"reference": _reference(row)} | dict(zip(fields, row[2:], strict=True))
            for row in reversed(rows)
        )
    elif rows:
        print_table(_columns(fields, rows), [_texts(fields, row) for row in rows])
    if not rows:
        click.echo("No version fits.", err=True)
    if use_index:
        _hint(store, query, fields, rows)


def _fields(query: Query, asked: Asked) -> list[str]:
    """Return the names of the columns after the reference."""
    from kept.store.condition.fields import canonical_name

    if asked.columns:
        names = [name.strip() for name in asked.columns.split(",")]
        return list(dict.fromkeys(canonical_name(name) for name in names if name))
    names = [key.name for key in query.sort] + list(query.where.names if query.where else ())
    shown = dict.fromkeys(name for name in names or _UNASKED if name not in _REFERENCE)
    return [*(name for name in shown if name not in _ALWAYS), *_ALWAYS]


def _without_empty(
    fields: list[str], rows: list[tuple[Any, ...]]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns without those that the user has not asked for, if they are empty."""
    stay = [n for n in fields if n not in _UNASKED or not _is_empty(fields, rows, n)]
    places = [0, 1, *(2 + fields.index(name) for name in stay)]
    return stay, [tuple(row[place] for place in places) for row in rows]


def _reference(row: tuple[Any, ...]) -> str:
    return f"{row[0]}:v{row[1]}"


def _columns(fields: list[str], rows: list[tuple[Any, ...]]) -> list[Column]:
    is_right = [
        all(isinstance(row[place], _RIGHT) or row[place] is None for row in rows)
        for place in range(2, 2 + len(fields))
    ]
    return [Column("version"), *map(Column, fields, is_right)]


def _texts(fields: list[str], row: tuple[Any, ...]) -> list[str]:
    return [_reference(row), *map(_text, fields, row[2:])]


def _text(name: str, value: Value | None) -> str:
    from kept.store.condition.fields import MOMENTS

    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(each if isinstance(each, str) else json.dumps(each) for each in value)
    if name in MOMENTS:
        return local_time(str(value))
    if name == "size" and isinstance(value, int):
        return size_text(value)
    return metric_text(value)


def _hint(store: Store, query: Query, fields: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Report on stderr the names that no version has, and those that the user may have meant."""
    from difflib import get_close_matches

    from kept.store.condition.fields import OWN
    from kept.store.search.query import Query
    from kept.store.search.search import select

    names = [*(query.where.names if query.where else ()), *fields]
    empty = [n for n in dict.fromkeys(names) if not rows or _is_empty(fields, rows, n)]
    known = select(store.logs, Query(limit=0)).names if empty else ()
    for name in empty if known else ():
        if name not in known and name not in (*OWN, *_UNASKED):
            close = get_close_matches(name, known, 3)
            meant = f" Did you mean {' or '.join(close)}?" if close else ""
            click.echo(clean(f"No version has {name!r}.{meant}"), err=True)


def _is_empty(fields: list[str], rows: list[tuple[Any, ...]], name: str) -> bool:
    place = 2 + fields.index(name) if name in fields else None
    return place is not None and all(row[place] is None for row in rows)
