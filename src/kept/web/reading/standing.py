"""An artifact in one row: its newest and its best version, a metric, bytes, health."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.charts.sparkline import sparkline
from kept.names import BEST, LATEST, is_automatic
from kept.store.health.state import health_of
from kept.store.rank.values import metric_names, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.log.history import VersionRecord
    from kept.web.reading.versions import Versions

_USUAL = ("val_loss", "loss")  # the metric of an artifact without a monitor
_MOST_DAMAGE = 3  # faults of an artifact
_MOST_ALIASES = 12


class Standing(NamedTuple):
    """What an artifact has. All values are such that JSON can hold them."""

    name: str
    type: str | None = None
    versions: int = 0  # that are not deleted
    deleted: int = 0
    newest: int | None = None  # the number of the newest version
    newest_aliases: Sequence[str] = ()
    updated: str | None = None  # the time of the last change
    logical: int = 0  # bytes of the files of all versions
    least: int = 0  # bytes that the saves of these versions added to the store
    most: int = 0  # the same, with the versions that were deleted since: they may share bytes
    unmeasured: int = 0  # versions whose save did not count the bytes
    aliases: Sequence[tuple[str, int]] = ()  # that people have put, newest version first
    metric: str | None = None
    mode: str | None = None
    value: float | None = None  # of the metric, in the newest version that has one
    best: int | None = None
    best_value: float | None = None
    spark: str = ""  # the metric over the versions, as SVG
    health: str | None = None  # of the newest version
    finding: str = ""
    moved_to: str | None = None
    damage: Sequence[str] = ()
    head: int = 0  # the number of the last record of the log

    @property
    def is_removed(self) -> bool:
        """Whether all versions are deleted, as far as they can be read."""
        return not self.versions and not self.damage

    @classmethod
    def parsed(cls, value: list[Any]) -> Standing:
        """Return a standing from what JSON has made of it."""
        found = cls(*value)
        return found._replace(aliases=[(alias, index) for alias, index in found.aliases])


def standing_of(name: str, versions: Versions) -> Standing | None:
    """Return the row of an artifact; None if it has never had a version."""
    every, live = versions.records, versions.live
    if not every and not versions.faults:
        return None
    newest = live[0] if live else None
    health = health_of(newest) if newest else None
    counted = [_bytes_new(record) for record in live]
    least = sum(filter(None, counted))
    logical = sum(record.size for record in live)
    added = sum(filter(None, map(_bytes_new, every)))
    return Standing(
        name,
        every[0].type if every else None,
        len(live),
        len(every) - len(live),
        newest.index if newest else None,
        [alias for alias in newest.aliases if alias not in (LATEST, BEST)] if newest else (),
        versions.updated,
        logical,
        least,
        max(min(added, logical), least),
        counted.count(None),
        _aliases(live),
        **_measured(versions, live),
        health=str(health.state) if health and health.is_marked else None,
        finding="; ".join(health.findings) if health else "",
        moved_to=None if live else versions.moved_to,
        damage=versions.faults[:_MOST_DAMAGE],
        head=versions.head,
    )


def _bytes_new(record: VersionRecord) -> int | None:
    value = record.metadata.get("bytes_new")
    return value if type(value) is int and value >= 0 else None


def _aliases(live: list[VersionRecord]) -> list[tuple[str, int]]:
    found = (
        (alias, record.index)
        for record in live
        for alias in record.aliases
        if alias != BEST and not is_automatic(alias)
    )
    return [pair for pair, _ in zip(found, range(_MOST_ALIASES), strict=False)]


def _measured(versions: Versions, live: list[VersionRecord]) -> dict[str, Any]:
    """Return the metric of the artifact, its last and its best value, and its line."""
    best = next((record for record in live if BEST in record.aliases), None)
    metric, mode = metric_of(versions, live)
    if metric is None:
        return {"best": best and best.index}
    values = [value_of(record, metric) for record in reversed(live)]
    place = len(live) - 1 - live.index(best) if best else None
    line = [math.nan if value is None else value for value in values]
    return {
        "metric": metric,
        "mode": mode,
        "value": next((value for value in reversed(values) if value is not None), None),
        "best": best and best.index,
        "best_value": None if place is None else values[place],
        "spark": sparkline(line, metric, best=place, width=88),
    }


def metric_of(versions: Versions, live: list[VersionRecord]) -> tuple[str | None, str | None]:
    """Return the metric to show of an artifact, and its mode: of its rule, or of its callback."""
    if versions.rule:
        return versions.rule
    for record in live:
        monitor, mode = record.metadata.get("monitor"), record.metadata.get("mode")
        if isinstance(monitor, str) and value_of(record, monitor) is not None:
            return monitor, mode if mode in ("min", "max") else None
    names = metric_names(live[:100])
    usual = next((name for name in _USUAL if name in names), None)
    return usual or min(names, default=None), None
