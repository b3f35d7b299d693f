"""The state of a page, which is the query of its address."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST = 200  # pairs of an address
Value = str | int | None | list[str]


class Query:
    """The parameters of an address in their order; it never changes."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)

    @classmethod
    def parse(cls, text: str, most: int = _MOST) -> Query:
        """Return the query of an address, "a=1&b=2", with at most that many parameters."""
        return cls(parse_qsl(text, keep_blank_values=True, errors="replace")[:most])

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of a parameter."""
        return next((value for key, value in self._pairs if key == name), default)

    def all(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return [value for key, value in self._pairs if key == name]

    def number(self, name: str, default: int, *, least: int = 0, most: int = 10**9) -> int:
        """Return a parameter as a whole number within limits; the default if it is none."""
        text = self.get(name)
        return min(max(int(text), least), most) if text.isdecimal() and len(text) < 10 else default

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self._pairs)

    def but(self, **changes: Value) -> Query:
        """Return the query with other values; None removes a parameter, a list repeats it."""
        kept = [pair for pair in self._pairs if pair[0] not in changes]
        for name, value in changes.items():
            values = value if isinstance(value, list) else [] if value is None else [str(value)]
            kept += [(name, each) for each in values]
        return Query(kept)

    def __str__(self) -> str:
        return f"?{urlencode(self._pairs)}" if self._pairs else ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Query) and self._pairs == other._pairs

    def __hash__(self) -> int:
        return hash(self._pairs)
