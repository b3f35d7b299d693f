"""The page of one tensor of a version: its values in a few numbers, and their histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.web.facts.version.facts import around
from kept.web.facts.version.values import Where, tensor_facts
from kept.web.page import Page

if TYPE_CHECKING:
    from kept.web.query import Query
    from kept.web.reader import Reader


def tensor_page(reader: Reader, query: Query, name: str, index: int) -> Page:
    """Return the page of the tensor that file= and tensor= name."""
    where = Where(query.get("file"), query.get("tensor"))
    record, before = around(reader, name, index)
    key = ("tensor", record.digest, before.digest if before else None, where)
    found = reader.memo.get(key)
    if found is None:
        found = tensor_facts(reader.store.bucket, record, before, where)
        reader.memo.put(key, found)
    top = max((max(bar.amount, bar.before or 0) for bar in found.bars), default=1)
    values = {"name": name, "record": record, "before": before, "found": found, "top": top or 1}
    return Page("tensor.html", f"{found.tensor.name} in {name}:v{index}", values)
