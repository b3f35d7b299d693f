"""The table of an artifact as CSV, with plain values: bytes, seconds, UTC."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from kept.web.facts.artifact.table import fitting, rows_for

if TYPE_CHECKING:
    from kept.web.facts.artifact.choice import Choice
    from kept.web.facts.artifact.series import Series

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute such a text


def sheet(series: Series, choice: Choice, mirrored: int | None) -> str:
    """Return all versions that fit, in their order, as CSV; raises InvalidCondition."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    heads = ("version", "aliases", "epoch", *choice.metrics, "bytes", "bytes new", "bytes shared",
             "bytes saved", "stall ms", "write ms", "created", "health", "mirrored",
             "saved at")  # fmt: skip
    writer.writerow(map(_cell, heads))
    for row in rows_for(series, choice, fitting(series, choice), mirrored):
        record, takes = row.record, row.takes
        values = (f"v{record.index}", " ".join(record.aliases), row.epoch, *row.metrics,
                  record.size, *takes, row.stall, row.write, record.created_at,
                  row.health.state, row.is_mirrored, row.saved_at)  # fmt: skip
        writer.writerow(map(_cell, values))
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Return a value as a cell that no spreadsheet takes for a formula."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
