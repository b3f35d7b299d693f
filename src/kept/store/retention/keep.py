"""kept.Keep: which versions are worth keeping, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import InvalidInput
from kept.units import parse_bytes, parse_span

if TYPE_CHECKING:
    from datetime import timedelta

_EVERY = re.compile(r"\s*(\d+)\s*(epoch|step)s?\s*")


class Period(NamedTuple):
    """What one version is kept of: so many epochs, steps or seconds."""

    length: float
    unit: str  # "epoch", "step" or "second"


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Which versions of an artifact are kept. A version that any rule keeps is kept.

    Whatever the rules say, some are never deleted: the newest version; the newest without NaN or
    infinite metrics; what has an alias other than epoch_<n> and epoch_<n>_batch_<b>, so the best
    one, and each that a person has named; what was undeleted; and what a mirror has not confirmed
    yet.

    Args:
        last: So many of the newest.
        best: So many of the best by the monitored metric.
        every: The first of each "10 epochs", "1000 steps" or "6h".
        within: Those committed in the last "7d".
        bytes: A budget, such as "50GB". Of what the other rules keep (of all versions, where there
            is no other rule) the oldest are given up until the rest fits. What counts is each
            chunk once, uncompressed, however many of the kept versions share it.

    Raises:
        InvalidInput: A rule cannot be understood, or there is none.
    """

    last: int | None = None
    best: int | None = None
    every: str | timedelta | None = None
    within: str | float | timedelta | None = None
    bytes: str | int | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, field.name) is None for field in fields(self)):
            names = ", ".join(field.name for field in fields(self))
            raise InvalidInput(f"Keep needs at least one rule of {names}. Received: {self!r}")
        for name in ("last", "best"):
            count = getattr(self, name)
            is_count = isinstance(count, int) and not isinstance(count, bool) and count >= 1
            if count is not None and not is_count:
                raise InvalidInput(f"{name} is a number of versions, 1 or more. "
                                   f"Received: {name}={count!r}")  # fmt: skip
        _ = self.period, self.span, self.budget

    @property
    def period(self) -> Period | None:
        """What every says."""
        if self.every is None:
            return None
        found = _EVERY.fullmatch(self.every) if isinstance(self.every, str) else None
        if found and int(found[1]):
            return Period(int(found[1]), found[2])
        try:
            seconds = parse_span(self.every, "every").total_seconds()
        except InvalidInput:
            seconds = 0.0
        if not seconds:
            raise InvalidInput(
                "every is a text such as '10 epochs', '1000 steps' or '6h', more than 0. "
                f"Received: every={self.every!r}"
            )
        return Period(seconds, "second")

    @property
    def span(self) -> timedelta | None:
        """What within says."""
        return None if self.within is None else parse_span(self.within, "within")

    @property
    def budget(self) -> int | None:
        """What bytes says."""
        return None if self.bytes is None else parse_bytes(self.bytes, "bytes")
