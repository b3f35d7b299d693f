"""Decides which versions are kept, which are deleted, and why; changes nothing.

The decision depends only on its arguments, above all on the log. So it is the same after a resume
and in every process. delete.py carries it out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from kept.names import is_automatic
from kept.store.health.state import is_unhealthy
from kept.store.rank.values import measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kept.store.log.history import VersionRecord
    from kept.store.retention.keep import Keep, Period

    Reasons = dict[int, list[str]]  # of the versions with these numbers


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a version is kept, and why."""

    record: VersionRecord
    keep: bool
    reasons: tuple[str, ...]


class Mirrored(NamedTuple):
    """The newest version of an artifact that every mirror has."""

    version: int  # -1 for none
    why: str = "not mirrored yet"  # the later versions must stay


class Sizes(Protocol):
    """Looks up the bytes of versions, for a budget; versions may share parts."""

    def of(self, record: VersionRecord) -> Mapping[str, int]:
        """Return the parts of a version and their sizes in bytes."""


def decide(
    versions: Sequence[VersionRecord],
    keep: Keep | None,
    now: datetime,
    mirrored: Mirrored | None = None,
    sizes: Sizes | None = None,
) -> list[Decision]:
    """Decide for each version of an artifact, oldest first, whether it is kept.

    Without keep only expired versions are deleted. mirrored is the newest version that every mirror
    has; None means that the artifact has no mirror. A budget of bytes looks up versions in sizes.
    """
    protected = _protected(versions, mirrored)
    expired = [r for r in versions if r.index not in protected and _is_expired(r, now)]
    gone = {record.index for record in expired}
    rest = [record for record in versions if record.index not in gone]
    kept = _kept_by_rules(rest, keep, now)
    dropped: set[int] = set()
    if keep and keep.budget is not None and sizes:
        dropped = set(_over_budget(rest, keep.budget, protected, kept, sizes))
    found = []
    for record in versions:
        reasons = [*protected.get(record.index, ()), *kept.get(record.index, ())]
        is_kept = record.index in protected or (bool(reasons) and record.index not in dropped)
        why = reasons if is_kept else [_why_not(record, gone, dropped, keep)]
        found.append(Decision(record, is_kept, tuple(why)))
    return found


def _protected(versions: Sequence[VersionRecord], mirrored: Mirrored | None) -> Reasons:
    """Return the versions that are never deleted, and why."""
    found: Reasons = {}
    if versions:
        found.setdefault(versions[-1].index, []).append("newest")
    good = next((r for r in reversed(versions) if is_good(r)), None)
    if good is not None and good is not versions[-1]:
        found.setdefault(good.index, []).append("newest without NaN")
    for record in versions:
        named = [alias for alias in record.aliases if not is_automatic(alias)]
        if named:
            found.setdefault(record.index, []).append(f"alias {', '.join(named)}")
        if record.undeleted:
            found.setdefault(record.index, []).append("undeleted")
        if mirrored is not None and record.index > mirrored.version:
            found.setdefault(record.index, []).append(mirrored.why)
    return found


def is_good(record: VersionRecord) -> bool:
    """Return whether a version is not unhealthy, and no metric of it is NaN or infinite.

    One without metrics is good.
    """
    if is_unhealthy(record.described):
        return False
    metrics = record.metadata.get("metrics")
    values = [*metrics.values()] if isinstance(metrics, dict) else []
    return all(_is_finite(value) for value in [record.metadata.get("value"), *values])


def _is_finite(value: Any) -> bool:
    # JSON has no NaN, so metadata holds "nan", "inf" or "-inf".
    return value not in ("nan", "inf", "-inf")


def _is_expired(record: VersionRecord, now: datetime) -> bool:
    return record.expires is not None and datetime.fromisoformat(record.expires) <= now


def _kept_by_rules(versions: Sequence[VersionRecord], keep: Keep | None, now: datetime) -> Reasons:
    if keep is None:
        return {record.index: ["not expired"] for record in versions}
    found: Reasons = {}
    for reason, kept in _rules(versions, keep, now):
        for record in kept:
            found.setdefault(record.index, []).append(reason)
    return found


def _rules(
    versions: Sequence[VersionRecord], keep: Keep, now: datetime
) -> Iterator[tuple[str, Sequence[VersionRecord]]]:
    if keep.last is not None:
        yield f"last {keep.last}", versions[-keep.last :]
    if keep.best is not None and (by := keep.by):
        yield f"best {keep.best} by {by.monitor}", by.ranked(versions)[: keep.best]
        yield f"{by.monitor} not measured yet", _unmeasured(versions, by.monitor)
    elif keep.best is not None:
        yield f"best {keep.best}", _best(versions)[: keep.best]
    if keep.period is not None:
        yield f"every {keep.every}", _firsts(versions, keep.period)
    if keep.span is not None:
        since = now - keep.span
        yield f"within {keep.within}", [r for r in versions if _created(r) > since]
    if (keep.last, keep.best, keep.every, keep.within) == (None, None, None, None):
        yield f"within the {keep.bytes}", versions


def _best(versions: Sequence[VersionRecord]) -> list[VersionRecord]:
    """Return the versions that have a value of the newest monitored metric, best first."""
    newest = next((r.metadata for r in reversed(versions) if _value(r) is not None), {})
    monitor, mode = newest.get("monitor"), newest.get("mode")
    comparable = [
        (value if mode == "min" else -value, record)
        for record in versions
        if (value := _value(record)) is not None
        and (record.metadata.get("monitor"), record.metadata.get("mode")) == (monitor, mode)
    ]
    return [record for _, record in sorted(comparable, key=lambda pair: pair[0])]


def _unmeasured(versions: Sequence[VersionRecord], monitor: str) -> Sequence[VersionRecord]:
    """Return the versions after the newest one that was measured: their evaluation may come."""
    ages = (
        age
        for age, record in enumerate(reversed(versions))
        if measured(record, monitor) is not None
    )
    return versions[len(versions) - next(ages, len(versions)) :]


def _value(record: VersionRecord) -> float | None:
    value = record.metadata.get("value")
    if record.metadata.get("mode") not in ("min", "max") or isinstance(value, bool):
        return None
    if is_unhealthy(record.described):
        return None
    if isinstance(value, int):  # of any size: isfinite cannot convert a large one to a float
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


def _firsts(versions: Sequence[VersionRecord], period: Period) -> list[VersionRecord]:
    """Return the first version of each period; of epochs and steps, not of the period from 0."""
    first: dict[int, VersionRecord] = {}
    for record in versions:
        progress = _progress(record, period.unit)
        if progress is not None:
            first.setdefault(int(progress // period.length), record)
    return [record for number, record in first.items() if number or period.unit == "second"]


def _progress(record: VersionRecord, unit: str) -> float | None:
    """Return how many epochs, steps or seconds had passed when a version was committed."""
    if unit == "second":
        return _created(record).timestamp()
    value = record.metadata.get(unit)
    if not isinstance(value, int):
        return None
    is_whole_epoch = unit == "epoch" and record.metadata.get("batch") is None
    return value + 1 if is_whole_epoch else value  # epochs count from 0


def _created(record: VersionRecord) -> datetime:
    return datetime.fromisoformat(record.created_at)


def _over_budget(
    versions: Sequence[VersionRecord],
    budget: int,
    protected: Reasons,
    kept: Reasons,
    sizes: Sizes,
) -> Iterator[int]:
    """Yield the versions to delete for the budget.

    From the newest backwards, these are the first version that exceeds it and all older ones.
    """
    held: set[str] = set()
    left = budget

    def take(record: VersionRecord) -> None:
        nonlocal left
        parts = sizes.of(record)
        left -= sum(size for part, size in parts.items() if part not in held)
        held.update(parts)

    for record in versions:
        if record.index in protected:
            take(record)
    is_over = False
    for record in reversed(versions):
        if record.index in kept and record.index not in protected:
            if not is_over:
                take(record)
                is_over = left < 0
            if is_over:
                yield record.index


def _why_not(record: VersionRecord, gone: set[int], dropped: set[int], keep: Keep | None) -> str:
    if record.index in gone:
        return f"expired {record.expires}"
    if record.index in dropped and keep:
        return f"over the budget of {keep.bytes}"
    return "no rule keeps it"
