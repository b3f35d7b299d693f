"""What a check of a store reads, and how fast; the values that users give, parsed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.errors import InvalidInput
from kept.units import parse_bytes, parse_span

if TYPE_CHECKING:
    from datetime import timedelta

    from kept.bucket.transfer import Progress
    from kept.store.log.history import VersionRecord

_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of Store.verify; the properties are the parsed values."""

    sample: str | float = 1.0
    newer_than: str | float | timedelta | None = None
    limit_rate: str | int | None = None
    resume: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInput for values that are not valid."""
        _ = self.share, self.rate, self.since

    @property
    def share(self) -> float:
        """Which share of the blobs is read, more than 0 and at most 1."""
        return parse_share(self.sample, "sample")

    @property
    def rate(self) -> float:
        """How many bytes are read in a second; infinity without a limit."""
        if self.limit_rate is None:
            return math.inf
        given = self.limit_rate
        text = given.strip().removesuffix("/s") if isinstance(given, str) else given
        rate = parse_bytes(text, "limit_rate")
        if not rate:
            raise InvalidInput(f"limit_rate is more than 0. Received: {given!r}")
        return rate

    @property
    def since(self) -> datetime | None:
        """Only versions committed since this moment are read; None for all."""
        if self.newer_than is None:
            return None
        return datetime.now(UTC) - parse_span(self.newer_than, "newer_than")

    def include(self, record: VersionRecord) -> bool:
        """Return whether a version is read."""
        since = self.since
        return since is None or datetime.fromisoformat(record.created_at) >= since


def parse_share(given: str | float, what: str) -> float:
    """Return a share given as "5%" or 0.05, more than 0 and at most 1; raises InvalidInput."""
    found = _SHARE.fullmatch(given) if isinstance(given, str) else None
    share = float(found[1]) / (100 if found[2] else 1) if found else given
    if isinstance(share, (int, float)) and not isinstance(share, bool) and 0 < share <= 1:
        return float(share)
    raise InvalidInput(
        f"{what} is a share such as '5%' or 0.05, more than 0 and at most all. Received: {given!r}"
    )
