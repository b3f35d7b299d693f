"""What is known of the versions of an artifact, for its page: metrics, best, totals.

It is made once for each state of the log. A page of 10,000 versions then costs what its rows cost.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter, OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import KeptError
from kept.names import BEST
from kept.store.display.measured import metrics_of, own_aliases
from kept.store.gc.needs import Needs
from kept.store.rank.best import score_of
from kept.store.rank.rule import Rule
from kept.store.search.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.log.history import VersionRecord
    from kept.store.search.rows import Row
    from kept.web.reading.reader import Reader
    from kept.web.reading.versions import Versions

_MOST = 64  # artifacts in memory
_MOST_COUNTED = 500  # versions whose manifests are read for the first screen
MOST_READ = 2000  # versions whose manifests are read to count what a deletion frees


class Best(NamedTuple):
    """The version with the alias best, and why it has it."""

    record: VersionRecord
    monitor: str | None
    mode: str | None
    value: float | None
    by_rule: bool  # `kept best` has set it; else the callbacks decide


class Takes(NamedTuple):
    """The bytes of a version, whose sum is its size; None for what is not known."""

    new: int | None  # stored bytes of what the version before lacks
    shared: int | None = None
    saved: int | None = None  # by compression, and as differences


class Extremes(NamedTuple):
    """Values of a metric, each with the number of its version."""

    newest: tuple[float, int]
    lowest: tuple[float, int]
    highest: tuple[float, int]


class Series:
    """The versions of an artifact in one state of its log."""

    def __init__(self, reader: Reader, name: str, versions: Versions, held: _Held) -> None:
        self.name, self.versions = name, versions
        self.needs, self.sizes, self.takes = held.needs, held.sizes, held.takes
        self.bucket = reader.store.bucket
        self.live = versions.live  # newest first
        self.is_remote = reader.store.bucket.is_remote
        self._metrics: dict[int, dict[str, float]] = {}
        self._extremes: dict[str, Extremes | None] = {}
        self.rule = Rule(*versions.rule) if versions.rule else None
        self.moved_to = None if self.live else versions.moved_to

    def metrics(self, record: VersionRecord) -> Mapping[str, float]:
        """Return the metrics of a version, NaN and infinities too."""
        found = self._metrics.get(record.index)
        if found is None:
            found = self._metrics[record.index] = metrics_of(record)
        return found

    @cached_property
    def metric_names(self) -> list[str]:
        """The names of all metrics: that of best first, then the most frequent ones."""
        counts = Counter(name for record in self.live for name in self.metrics(record))
        first = self.monitor
        return sorted(counts, key=lambda name: (name != first, -counts[name], name))

    def extremes(self, metric: str) -> Extremes | None:
        """Return the newest, the lowest and the highest finite value of a metric."""
        if metric not in self._extremes:
            values = ((self.metrics(record).get(metric), record.index) for record in self.live)
            found = [(v, index) for v, index in values if v is not None and math.isfinite(v)]
            known = Extremes(found[0], min(found), max(found)) if found else None
            self._extremes[metric] = known
        return self._extremes[metric]

    @cached_property
    def best(self) -> Best | None:
        """The version with the alias best; None if no version has it."""
        record = next((each for each in self.live if BEST in each.aliases), None)
        if record is None:
            return None
        if self.rule:
            rule = self.rule
            return Best(record, rule.monitor, rule.mode, rule.value(record), by_rule=True)
        score = score_of(record.metadata)
        if score is None:
            return Best(record, None, None, None, by_rule=False)
        return Best(record, score.monitor, score.mode, score.value, by_rule=False)

    @cached_property
    def monitor(self) -> str | None:
        """The metric by which a version is the best; else the one that callbacks monitor."""
        if self.rule:
            return self.rule.monitor
        if self.best and self.best.monitor:
            return self.best.monitor
        scores = (score_of(record.metadata) for record in self.live)
        return next((score.monitor for score in scores if score), None)

    @cached_property
    def places(self) -> dict[int, int]:
        """Where each version is in live, by its number."""
        return {record.index: place for place, record in enumerate(self.live)}

    @cached_property
    def rows(self) -> list[Row]:
        """The versions with all values that a condition can name."""
        return rows_of(self.name, self.versions.records)

    @cached_property
    def logical(self) -> int:
        """The bytes of all versions."""
        return sum(record.size for record in self.live)

    @cached_property
    def stored(self) -> int | None:
        """The bytes that the versions need in the store; None if counting them takes too long."""
        if self.is_remote or len(self.live) > _MOST_COUNTED:
            return None
        return sum({k: size for record in self.live for k, size in self.needs.of(record).items()}
                   .values())  # fmt: skip

    @cached_property
    def aliases(self) -> list[tuple[str, VersionRecord]]:
        """The aliases that people have put, newest version first."""
        return [(alias, record) for record in self.live for alias in own_aliases(record)]


class _Held:
    """What is known of a store."""

    def __init__(self, reader: Reader) -> None:
        self.needs = Needs(reader.store.bucket)
        self.sizes: dict[str, Mapping[str, int]] = {}  # of chunks, by manifest: for a budget
        self.takes: dict[tuple[str, str | None], Takes] = {}  # by manifest and the one before
        self.series: OrderedDict[str, Series] = OrderedDict()


_known: weakref.WeakKeyDictionary[Reader, _Held] = weakref.WeakKeyDictionary()


def series_of(reader: Reader, name: str) -> Series:
    """Return what is known of an artifact's versions; raises ArtifactNotFound."""
    versions = reader.versions(name)
    held = _known.get(reader) or _known.setdefault(reader, _Held(reader))
    before = held.series.get(name)
    if before is not None and before.versions.records is versions.records:
        return before
    made = held.series[name] = Series(reader, name, versions, held)
    while len(held.series) > _MOST:
        held.series.popitem(last=False)
    return made


def needed_elsewhere(reader: Reader, series: Series) -> set[str] | None:
    """Return the keys that other artifacts need; None if reading that takes too long."""
    table = reader.table()
    others = [s for s in table.standings.values() if s.versions and s.name != series.name]
    if table.unread or len(others) > _MOST or sum(s.versions for s in others) > MOST_READ:
        return None
    try:
        records = [record for s in others for record in reader.versions(s.name).live]
    except KeptError:  # an artifact that was removed meanwhile, or damage
        return None
    return {key for record in records for key in series.needs.of(record)}


def mirrored_up_to(reader: Reader, name: str) -> int | None:
    """Return the newest version that each mirror has confirmed, -1 for none; None without one."""
    found = (receipt.version for receipt in reader.receipts() if receipt.artifact == name)
    return min(found, default=None)
