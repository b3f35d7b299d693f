"""Reads the live versions of a log, with their values."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kept.store.condition.fields import provenance_values, values_of
from kept.store.log.history import VersionRecord, version_records
from kept.store.log.log import Log
from kept.store.search.stamps import stamp_before, stamp_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kept.store.condition.literal import Value
    from kept.store.log.events import Fault
    from kept.store.log.log import Logs


_NOTHING: dict[str, Value] = {}


class Row(NamedTuple):
    """A live version and its values."""

    name: str  # of the artifact
    record: VersionRecord
    own: dict[str, Value]
    shared: dict[str, Value] = _NOTHING  # its provenance; one object for all versions that have it

    @property
    def values(self) -> Mapping[str, Value]:
        """All values; its own come first."""
        return ChainMap(self.own, self.shared)


@dataclass(frozen=True, slots=True)
class Read:
    """What a log said."""

    name: str
    rows: list[Row] = field(default_factory=list)  # newest version first
    head: int = 0  # the number of its last record
    stamp: str | None = None  # of the log; None if it must be read again
    faults: tuple[str, ...] = ()


def read_log(logs: Logs, name: str, wanted: Collection[int] | None = None) -> Read:
    """Return the live versions of an artifact, or those with these numbers; none without a log.

    The log object is a new one: the logs of a large store do not stay in memory.
    """
    before = stamp_before(logs, name)
    view = Log(logs, name).view()
    faults: list[Fault] = []
    every = list(version_records(view.facts(), faults))
    stamp = stamp_of(logs, name, view.head) if logs.bucket.is_remote else before
    messages = tuple(fault.message for fault in faults)
    return Read(name, rows_of(name, every, wanted), view.head, None if faults else stamp, messages)


def rows_of(
    name: str, every: list[VersionRecord], wanted: Collection[int] | None = None
) -> list[Row]:
    """Return the rows of the live ones among all versions of an artifact, or of wanted ones."""
    captured = {
        record.index: provenance_values(record.origin["provenance"])
        for record in every
        if isinstance(record.origin.get("provenance"), dict)
    }
    return [
        Row(name, record, values_of(name, record, {}), captured.get(_captured(record), _NOTHING))
        for record in every
        if not record.deleted and (wanted is None or record.index in wanted)
    ]


def _captured(record: VersionRecord) -> int:
    """Return the number of the version whose record has the provenance of this one."""
    found = record.origin.get("provenance")
    return found if isinstance(found, int) else record.index
