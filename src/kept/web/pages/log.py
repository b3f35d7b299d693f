"""The page of the log: who did what, when, and how to undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.web.facts.log.entries import KINDS, part_of
from kept.web.page import Page

if TYPE_CHECKING:
    from kept.web.query import Query
    from kept.web.reading.reader import Reader


def log_page(reader: Reader, query: Query) -> Page:
    """Return the page of the changes of all artifacts, or of name= in the query."""
    part = part_of(reader, query, with_undo=True)
    name, person = query.get("name"), query.get("by")
    people = sorted({*part.people, *([person] if person else [])})
    values = {
        "part": part,
        "name": name,
        "kinds": list(KINDS),
        "people": people,
        "is_filtered": bool(name or person or query.get("kind")),
        "is_first": "until" not in query,
    }
    return Page("log.html", f"Log of {name}" if name else "Log", values)
