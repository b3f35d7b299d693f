"""Which versions a retention would delete, and how many bytes come back; it changes nothing.

The decision is that of `kept prune`, with one difference: mirrors are not asked. What they have
confirmed so far counts. So an answer needs no server, and it can change until the deletion.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.errors import InvalidInput, KeptError
from kept.store.display.measured import measured_number
from kept.store.retention.delete import ChunkSizes
from kept.store.retention.keep import Keep
from kept.store.retention.policy import Mirrored, decide
from kept.units import counted, size_text
from kept.web.facts.artifact.series import MOST_READ, mirrored_up_to, needed_elsewhere

if TYPE_CHECKING:
    from kept.store.log.history import VersionRecord
    from kept.store.retention.policy import Decision
    from kept.web.facts.artifact.series import Series
    from kept.web.query import Query
    from kept.web.reading.reader import Reader

RULES = ("last", "best", "monitor", "mode", "every", "within", "bytes")  # as Keep has them
_COUNTS = ("last", "best")
_MOST_REMOTE = 20  # versions in object storage whose manifests are read for a budget
_MOST_SIZES = 20_000  # manifests in memory


class Freed(NamedTuple):
    """The bytes that come back; an estimate if not all manifests were read."""

    size: int
    is_exact: bool

    def __str__(self) -> str:
        return f"{'' if self.is_exact else 'about '}{size_text(self.size)}"


_NONE = Freed(0, is_exact=True)


@dataclass(frozen=True)
class WhatIf:
    """What a retention would do."""

    typed: dict[str, str]  # the rules as they were typed
    error: str = ""  # what is wrong with them
    reasons: dict[int, str] | None = None  # of the versions that would go; None without rules
    stay: int = 0  # how many versions stay
    freed: Freed = _NONE

    @property
    def doomed(self) -> frozenset[int]:
        """The numbers of the versions that would go."""
        return frozenset(self.reasons or ())

    @property
    def text(self) -> str:
        """The answer in words."""
        if self.error:
            return self.error
        if self.reasons is None:
            return ""
        count = counted(len(self.reasons), "version")
        if not self.reasons:
            return f"Nothing would go: {counted(self.stay, 'version')} would stay."
        return f"{count} would go, {self.stay:,} stay; {self.freed} come back after gc."

    @property
    def button(self) -> str:
        """What the button says that does it; empty if there is nothing to do."""
        if not self.reasons:
            return ""
        count = counted(len(self.reasons), "version")
        return f"Delete {count}, free {self.freed}, undo until gc"

    @property
    def rules(self) -> dict[str, str | list[str]]:
        """The rules that were given, for an address."""
        return {name: value for name, value in self.typed.items() if value}


def whatif_of(reader: Reader, series: Series, query: Query) -> WhatIf:
    """Return what the rules of a query would do; bad ones become an error that says why."""
    typed = {name: query.get(name).strip() for name in RULES}
    try:
        keep = _keep_of(typed)
        if keep is None:
            return WhatIf(typed)
        decisions = _decide(reader, series, keep)
    except KeptError as error:
        return WhatIf(typed, error=str(error))
    gone = [decision.record for decision in decisions if not decision.keep]
    kept = [decision.record for decision in decisions if decision.keep]
    reasons = {d.record.index: ", ".join(d.reasons) for d in decisions if not d.keep}
    return WhatIf(typed, "", reasons, len(kept), _freed(reader, series, gone, kept))


def _keep_of(typed: dict[str, str]) -> Keep | None:
    """Return the rules; raises InvalidInput. A metric alone is no rule."""
    given: dict[str, Any] = {name: value for name, value in typed.items() if value}
    for name in _COUNTS:
        if name in given:
            given[name] = _count(name, given[name])
    if "best" not in given:
        given.pop("monitor", None)
    if "monitor" not in given:
        given.pop("mode", None)
    return Keep(**given) if given else None


def _count(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise InvalidInput(f"{name} is a number of versions, 1 or more. Received: {text[:80]!r}")
    return int(text)


def _freed(
    reader: Reader, series: Series, gone: list[VersionRecord], kept: list[VersionRecord]
) -> Freed:
    if not gone:
        return _NONE
    if not series.is_remote and len(gone) + len(kept) <= MOST_READ:
        elsewhere = needed_elsewhere(reader, series)
        size = series.needs.freed(gone, kept, elsewhere or ())
        return Freed(size, is_exact=elsewhere is not None)
    noted = (measured_number(record, "bytes_new") for record in gone)
    return Freed(int(sum(size for size in noted if size)), is_exact=False)


def _decide(reader: Reader, series: Series, keep: Keep) -> list[Decision]:
    if keep.budget is not None and series.is_remote and len(series.live) > _MOST_REMOTE:
        raise InvalidInput(
            "A budget of bytes needs a request for each version of this store, so it is not "
            f"counted here. Run: kept prune {series.name} --keep-bytes {keep.bytes} --dry-run"
        )
    confirmed = mirrored_up_to(reader, series.name)
    mirrored = None if confirmed is None else Mirrored(confirmed)
    sizes = ChunkSizes(reader.store.bucket, series.sizes)
    decisions = decide(series.live[::-1], keep, datetime.now(UTC), mirrored, sizes)
    if len(series.sizes) > _MOST_SIZES:
        series.sizes.clear()
    series.sizes.update(sizes.used)
    return decisions
