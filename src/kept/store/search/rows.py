"""Reads the live versions of a log, with their values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kept.store.condition.fields import values_of
from kept.store.log.history import VersionRecord, version_records
from kept.store.log.log import Log
from kept.store.search.stamps import stamp_before, stamp_of

if TYPE_CHECKING:
    from kept.store.condition.literal import Value
    from kept.store.encoding import Json
    from kept.store.log.events import Fault
    from kept.store.log.log import Logs


class Row(NamedTuple):
    """A live version and its values."""

    name: str  # of the artifact
    record: VersionRecord
    values: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Read:
    """What a log said."""

    name: str
    rows: list[Row] = field(default_factory=list)  # newest version first
    head: int = 0  # the number of its last record
    stamp: str | None = None  # of the log; None if it must be read again
    faults: tuple[str, ...] = ()


def read_log(logs: Logs, name: str) -> Read:
    """Return the live versions of an artifact, none if it has no log.

    The log object is a new one: the logs of a large store do not stay in memory.
    """
    before = stamp_before(logs, name)
    view = Log(logs, name).view()
    faults: list[Fault] = []
    every = list(version_records(view.facts(), faults))
    stamp = stamp_of(logs, name, view.head) if logs.bucket.is_remote else before
    messages = tuple(fault.message for fault in faults)
    return Read(name, rows_of(name, every), view.head, None if faults else stamp, messages)


def rows_of(name: str, every: list[VersionRecord]) -> list[Row]:
    """Return the rows of the live ones among all versions of an artifact."""
    captured = {
        record.index: record.origin["provenance"]
        for record in every
        if isinstance(record.origin.get("provenance"), dict)
    }
    return [
        Row(name, record, values_of(name, record, _provenance(record, captured)))
        for record in every
        if not record.deleted
    ]


def _provenance(record: VersionRecord, captured: dict[int, Json]) -> Json | None:
    """Return a version's provenance; a number names the version that has the same."""
    found = record.origin.get("provenance")
    return captured.get(found) if isinstance(found, int) else found
