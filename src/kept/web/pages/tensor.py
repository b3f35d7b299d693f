"""The page of one tensor of a version: its values in a few numbers, and their histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.web.facts.version.facts import around
from kept.web.facts.version.values import ASKED_FROM, TensorFacts, Where, find_tensor, tensor_facts
from kept.web.page import Page

if TYPE_CHECKING:
    from kept.web.query import Query
    from kept.web.reading.reader import Reader


def tensor_page(reader: Reader, query: Query, name: str, index: int) -> Page:
    """Return the page of the tensor that file= and tensor= name.

    Of a large tensor the values are read only if the address says read=1.
    """
    where = Where(query.get("file"), query.get("tensor"))
    record, before = around(reader, name, index)
    found = find_tensor(reader.store.bucket, record, before, where)
    key = ("tensor", record.digest, before.digest if before else None, where)
    facts: TensorFacts | None = reader.memo.get(key)
    if facts is None and (found.tensor.nbytes <= ASKED_FROM or query.get("read") == "1"):
        facts = tensor_facts(found)
        reader.memo.put(key, facts)
    values = {
        "name": name,
        "record": record,
        "before": before,
        "tensor": found.tensor,
        "is_same": found.is_same,
        "facts": facts,
    }
    return Page("tensor.html", f"{found.tensor.name} in {name}:v{index}", values)
