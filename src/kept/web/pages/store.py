"""The first page: what is in the store, what is training now, what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from kept.errors import StoreReplaced
from kept.web.facts.store.rows import (
    NEWEST_FIRST,
    aliases_elsewhere,
    chosen,
    found,
    ordered,
    page_of,
    stored_by,
    types_of,
)
from kept.web.facts.store.waiting import MOST, waiting
from kept.web.page import Page

if TYPE_CHECKING:
    from kept.web.query import Query
    from kept.web.reading.reader import Reader
    from kept.web.reading.standing import Standing

_MOST_DAMAGED = 20
_MOST_ALIASES = 3  # on other versions than the best one


def store_page(reader: Reader, query: Query) -> Page:
    """Return the page of all artifacts."""
    table = reader.table()
    every = list(table.standings.values())
    if not every and reader.store.exists:
        _check_exists(reader)
    runs = reader.runs()
    search = found(reader.store.logs, every, query.get("q"))
    live = {run.artifact for run in runs}
    rows = ordered(chosen(search.rows, query, live), query.get("sort", NEWEST_FIRST))
    shown, number, pages = page_of(rows, query.number("page", 1, least=1))
    existing = [row for row in every if not row.is_removed]
    waits = waiting(reader, table.standings)
    values = {
        "rows": [_row(row) for row in shown],
        "found": len(rows),
        "page": number,
        "pages": pages,
        "search": search,
        "unread": table.unread,
        "existing": len(existing),
        "removed": len(every) - len(existing),
        "versions": sum(row.versions for row in existing),
        "total": stored_by(existing),
        "types": types_of(existing),
        "unhealthy": sum(bool(row.health or row.damage) for row in existing),
        "damaged": [row for row in every if row.damage][:_MOST_DAMAGED],
        "problem": reader.store.logs.problem,
        "live": live,
        "runs": runs,
        "waiting": waits[:MOST],
        "waiting_more": len(waits) - MOST,
        "protected": frozenset(reader.protected()),
        "sort": query.get("sort", NEWEST_FIRST),
    }
    return Page("store.html", "Artifacts", values)


def _check_exists(reader: Reader) -> None:
    """Raise StoreReplaced if the store that was opened no longer exists."""
    reader.store.logs.check_identity()
    if not any(True for _ in reader.store.bucket.names("")):
        raise StoreReplaced(f"{reader.store.location} is empty: the store was deleted or moved.")


def _row(row: Standing) -> dict[str, Any]:
    elsewhere = list(aliases_elsewhere(row))
    return {
        "is": row,
        "stored": stored_by([row]),
        "line": Markup(row.spark),  # noqa: S704 - made by kept.charts, which escapes the name
        "aliases": [alias for alias, index in row.aliases if index == row.best],
        "elsewhere": elsewhere[:_MOST_ALIASES],
        "more": len(elsewhere) - _MOST_ALIASES,
    }
