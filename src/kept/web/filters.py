"""How values look on a page: sizes, times, metrics, hashes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from kept.units import counted, metric_text, size_text, value_text

_STEPS = (("year", 31_557_600), ("month", 2_629_800), ("day", 86400), ("hour", 3600), ("min", 60))
_LONGEST = 2000  # characters of a text on a page; the rest is cut with a mark
_MADE_SAFE = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def ago(moment: datetime | str | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was: "2 min ago", "3 days ago"."""
    if moment is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - _as_datetime(moment)).total_seconds()
    side = "ago" if seconds >= 0 else "from now"
    for unit, length in _STEPS:
        count = int(abs(seconds) // length)
        if count:
            plural = "" if count == 1 or unit == "min" else "s"
            return f"{count} {unit}{plural} {side}"
    return f"{int(abs(seconds))} s {side}"


def exact(moment: datetime | str | None) -> str:
    """Return a moment in local time, to the second, for titles."""
    if moment is None:
        return ""
    return f"{_as_datetime(moment).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def clock(moment: datetime | str) -> str:
    """Return the time of the day in local time, where the day is known."""
    return f"{_as_datetime(moment).astimezone():%H:%M:%S}"


def iso(moment: datetime | str | None) -> str:
    """Return a moment for the attribute datetime, from which the browser keeps texts current."""
    return "" if moment is None else _as_datetime(moment).astimezone(UTC).isoformat()


def number(value: float | str | None) -> str:
    """Return the value of a metric; nothing if it is missing."""
    return "" if value is None else metric_text(value)


def cut(text: Any, length: int = _LONGEST) -> str:
    """Return a text of at most length characters, with a mark if it was longer."""
    text = value_text(text)
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters)"


def short(digest: str) -> str:
    """Return the first digits of a hash."""
    return digest[:10]


def script_json(value: Any) -> Any:
    """Return JSON for a <script type="application/json">; no text of a user can end the script."""
    from markupsafe import Markup

    return Markup(json.dumps(value, separators=(",", ":")).translate(_MADE_SAFE))  # noqa: S704 - < > & are escaped


def _as_datetime(moment: datetime | str) -> datetime:
    return datetime.fromisoformat(moment) if isinstance(moment, str) else moment


FILTERS = {
    "ago": ago, "exact": exact, "clock": clock, "iso": iso, "size": size_text, "number": number,
    "cut": cut, "short": short, "counted": counted, "script_json": script_json,
}  # fmt: skip
