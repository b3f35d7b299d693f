"""Tables for pandas and Arrow: a column for each name, with one type each.

Whole numbers stay whole. If a column has values of several kinds, it has their texts.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput
from kept.store.condition.fields import LISTS, MOMENTS
from kept.store.search.cells import LIMIT

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from kept.store.search.selection import Selection

_ARROW = {"int": "int64", "float": "float64", "bool": "bool_", "text": "string"}
_PANDAS = {"int": "Int64", "float": "float64", "bool": "boolean", "text": "str"}
Column = list[Any]


def data_frame(selection: Selection) -> pd.DataFrame:
    """Return a selection as a DataFrame; raises InvalidInput without pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise InvalidInput(_missing("pandas")) from None
    columns = {}
    for name, column in _columns(selection):
        kind, values = _typed(name, column)
        if kind == "moment":
            columns[name] = pd.Series(pd.to_datetime(values, utc=True))
        else:
            has_all = kind == "int" and None not in values
            dtype = "int64" if has_all else _PANDAS.get(kind, "object")
            columns[name] = pd.Series(values, dtype=dtype)
    return pd.DataFrame(columns)


def arrow_table(selection: Selection) -> pa.Table:
    """Return a selection as an Arrow table; raises InvalidInput without pyarrow."""
    try:
        import pyarrow as pa
    except ImportError:
        raise InvalidInput(_missing("pyarrow")) from None
    columns = {}
    for name, column in _columns(selection):
        kind, values = _typed(name, column)
        if kind == "moment":
            arrow = pa.timestamp("us", tz="UTC")
        elif kind == "list":
            arrow = pa.list_(pa.string())
        else:
            arrow = getattr(pa, _ARROW[kind])()
        columns[name] = pa.array(values, arrow)
    return pa.table(columns)


def _missing(package: str) -> str:
    return f"This needs {package}. Install it: pip install 'kept[pandas]'"


def _columns(selection: Selection) -> list[tuple[str, Column]]:
    found = selection.compact()
    return list(zip(found.names, map(list, zip(*found.rows, strict=True)), strict=True))


def _typed(name: str, column: Column) -> tuple[str, Column]:
    """Return the kind of a column, and its values in that kind, None for missing ones."""
    present = [value for value in column if value is not None]
    if name in MOMENTS:
        return "moment", [value and datetime.fromisoformat(value) for value in column]
    if name in LISTS or all(isinstance(value, tuple) for value in present):
        return "list", [None if value is None else list(map(_text, value)) for value in column]
    if all(isinstance(value, bool) for value in present):
        return "bool", column
    if all(map(_is_integer, present)):
        return "int", column
    if all(map(_is_number, present)):
        return "float", [None if value is None else float(value) for value in column]
    return "text", [None if value is None else _text(value) for value in column]


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -LIMIT <= value < LIMIT


def _is_number(value: object) -> bool:
    """Return whether a value is a number, or the text of one that JSON lacks."""
    return isinstance(value, float) or _is_integer(value) or value == "nan"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
