"""What a benchmark hands back: rows of ratios, with their limits, and times beside them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A ratio; limit is the number it must not exceed (or, at_least, not stay below)."""

    what: str
    ratio: float
    limit: float | None = None
    at_least: bool = False

    @property
    def ok(self) -> bool | None:
        """Whether the limit holds, None without one."""
        if self.limit is None:
            return None
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    @property
    def bound(self) -> str:
        """The limit as text."""
        if self.limit is None:
            return ""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"

    def to_json(self) -> dict[str, Any]:
        """Return the row with what follows from it."""
        return asdict(self) | {"ok": self.ok}


@dataclass(slots=True)
class Outcome:
    """What a benchmark found on one framework."""

    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # medians, beside the ratios
    raw: dict[str, Any] = field(default_factory=dict)  # every repetition

    def add(
        self,
        what: str,
        value: float,
        base: float = 1.0,
        limit: float | None = None,
        *,
        least: bool = False,
    ) -> None:
        """Add the ratio of value to base; a value alone is one already."""
        self.rows.append(Row(what, value / base if base else float("nan"), limit, least))

    def to_json(self) -> dict[str, Any]:
        """Return what json can write."""
        rows = [row.to_json() for row in self.rows]
        return {"rows": rows, "seconds": self.seconds, "raw": self.raw}
