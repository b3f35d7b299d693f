"""The first page: what is in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.names import is_automatic
from kept.store.log.overview import summaries
from kept.web.page import Page

if TYPE_CHECKING:
    from kept.web.query import Query
    from kept.web.reader import Reader


class Row(NamedTuple):
    """An artifact in the table."""

    name: str
    newest: int | None
    aliases: list[str]
    versions: int
    size: int | None
    updated: str | None


def store_page(reader: Reader, query: Query) -> Page:
    """Return the page of all artifacts that have versions."""
    wanted = query.get("q").lower()
    rows = [
        Row(name, found.newest, [a for a, _ in found.aliases if not is_automatic(a)],
            found.versions, found.size, found.created_at)
        for name, found in summaries(reader.store.logs)
        if found.versions and wanted in name.lower()
    ]  # fmt: skip
    return Page("store.html", "Artifacts", {"rows": rows})
