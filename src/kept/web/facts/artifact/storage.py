"""What versions take in the store: new bytes, shared ones, and those that coding saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.charts.rows import Stored
from kept.web.facts.artifact.metrics import measured_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.log.history import VersionRecord
    from kept.web.facts.artifact.series import Series


class Takes(NamedTuple):
    """The bytes of a version; None for what is not known."""

    new: int | None
    shared: int | None = None
    saved: int | None = None


def takes_of(series: Series, shown: Sequence[VersionRecord]) -> dict[int, Takes]:
    """Return what the shown versions take, by their numbers.

    In a folder the manifests of the shown versions and of those before them say it. In object
    storage each would be a request, so only what the writer noted is known.
    """
    if series.is_remote or not shown:
        return {record.index: _noted(record) for record in shown}
    found = {}
    for record in shown:
        place = series.places.get(record.index)
        if place is None:  # deleted: gc may have freed it
            found[record.index] = _noted(record)
        else:
            found[record.index] = _counted(series, record, series.live[place + 1 : place + 2])
    return found


def stored_rows(takes: dict[int, Takes], records: Sequence[VersionRecord]) -> list[Stored]:
    """Return the rows of the chart of storage, oldest first, of what is known."""
    return [
        Stored(f"v{record.index}", took.new, took.shared or 0, took.saved or 0)
        for record in reversed(records)
        if (took := takes.get(record.index)) and took.new is not None
    ]


def _counted(series: Series, record: VersionRecord, before: Sequence[VersionRecord]) -> Takes:
    needs = series.needs.of(record)
    if not needs:  # a damaged manifest
        return _noted(record)
    known = series.needs.of(before[0]) if before else {}
    new = sum(size for key, size in needs.items() if key not in known)
    shared = sum(size for key, size in needs.items() if key in known)
    return Takes(new, shared, max(record.size - new - shared, 0))


def _noted(record: VersionRecord) -> Takes:
    new = measured_number(record, "bytes_new")
    return Takes(None if new is None or new < 0 else int(new))
