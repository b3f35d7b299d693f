"""kept.Keep: the rules for which versions are kept, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import InvalidInput
from kept.store.rank.mode import check_mode
from kept.store.rank.rule import Rule
from kept.units import parse_bytes, parse_span

if TYPE_CHECKING:
    from datetime import timedelta

_EVERY = re.compile(r"\s*(\d+)\s*(epoch|step)s?\s*")


class Period(NamedTuple):
    """A length of training or time of which one version is kept."""

    length: float
    unit: str  # "epoch", "step" or "second"


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Rules for which versions of an artifact are kept. A version that any rule keeps is kept.

    Some versions are never deleted, whatever the rules are: the newest one, and the newest one
    without NaN or infinite metrics. The same holds for each version with an alias other than
    epoch_<n> and epoch_<n>_batch_<b>, such as the best one. It also holds for each version that was
    undeleted, and for each that a mirror has not confirmed yet.

    Args:
        last: How many of the newest versions to keep.
        best: How many of the best versions by the monitored metric to keep.
        monitor: The metric for best, such as "test_acc", which may be logged later. Versions after
            the newest measured one are kept, too: they wait for their measurement. Without it, best
            is by the metric of the callbacks.
        mode: "min" or "max" for monitor; without it, the name of the metric says which.
        every: Keep the first version of each "10 epochs", "1000 steps" or "6h".
        within: Keep the versions committed in the last "7d".
        bytes: A budget, such as "50GB". Of the versions that the other rules keep (of all, if this
            is the only rule) the oldest are deleted until the rest fits. Each chunk counts once,
            uncompressed, however many of the kept versions share it.

    Raises:
        InvalidInput: A rule is not valid, or no rule is given.
    """

    last: int | None = None
    best: int | None = None
    monitor: str | None = None
    mode: str | None = None
    every: str | timedelta | None = None
    within: str | float | timedelta | None = None
    bytes: str | int | None = None

    def __post_init__(self) -> None:
        rules = [field.name for field in fields(self) if field.name not in ("monitor", "mode")]
        if all(getattr(self, name) is None for name in rules):
            names = ", ".join(rules)
            raise InvalidInput(f"Keep needs at least one rule of {names}. Received: {self!r}")
        for name in ("last", "best"):
            count = getattr(self, name)
            is_count = isinstance(count, int) and not isinstance(count, bool) and count >= 1
            if count is not None and not is_count:
                raise InvalidInput(f"{name} is a number of versions, 1 or more. "
                                   f"Received: {name}={count!r}")  # fmt: skip
        if self.best is None and (self.monitor, self.mode) != (None, None):
            raise InvalidInput(f"monitor and mode belong to best=. Received: {self!r}")
        _ = self.period, self.span, self.budget, self.by

    @property
    def by(self) -> Rule | None:
        """The metric that decides best; None for that of the callbacks."""
        if self.monitor is None:
            if self.mode is not None:
                raise InvalidInput(f"mode needs a monitor. Received: mode={self.mode!r}")
            return None
        if not isinstance(self.monitor, str) or not self.monitor:
            raise InvalidInput(
                f"monitor is the name of a metric. Received: monitor={self.monitor!r}"
            )
        return Rule(self.monitor, check_mode(self.monitor, self.mode))

    @property
    def period(self) -> Period | None:
        """The parsed value of every."""
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
        """The parsed value of within."""
        return None if self.within is None else parse_span(self.within, "within")

    @property
    def budget(self) -> int | None:
        """The parsed value of bytes."""
        return None if self.bytes is None else parse_bytes(self.bytes, "bytes")
