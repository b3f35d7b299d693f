"""A value of a version as SQLite holds it.

Numbers of up to 64 bits and usual texts are themselves. Everything else is a blob of JSON: lists,
true and false, larger numbers, and texts with a NUL. No string in this JSON has a quote in it, so
a search for `"word"` finds an element of a list.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kept.store.condition.literal import Value

Cell = int | float | str | bytes
LIMIT = 2**63
_ESCAPE = re.compile(r"\\(.)")
_UNUSUAL = re.compile("[\0\ud800-\udfff]")


def cell_of(value: Value) -> Cell:
    """Return the cell of a value."""
    if isinstance(value, str):
        return json_cell(value) if is_unusual(value) else value
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -LIMIT <= value < LIMIT:
        return value
    return json_cell(value)


def value_of(cell: Any) -> Value | None:
    """Return the value of a cell, None for NULL."""
    if not isinstance(cell, bytes):
        value: Value | None = cell
        return value
    found = json.loads(cell)
    return tuple(found) if isinstance(found, list) else found


def json_cell(value: Value) -> bytes:
    """Return the blob of a value; also what to search for to find an element in a list."""
    text = json.dumps(value, separators=(",", ":"))
    return _ESCAPE.sub(lambda found: r"\u0022" if found[1] == '"' else found[0], text).encode()


def is_unusual(text: str) -> bool:
    """Return whether SQLite cannot hold a text as it is: it has a NUL, or half of a surrogate."""
    return _UNUSUAL.search(text) is not None


def name_cell(name: str) -> str:
    """Return a name as the index holds it; in ASCII, because names can be unusual texts, too."""
    return json.dumps(name)


@functools.lru_cache(maxsize=4096)
def name_of(cell: str) -> str:
    """Return the name of a cell of name_cell."""
    return str(json.loads(cell))
