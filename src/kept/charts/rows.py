"""What charts are made from: plain rows, which callers fill from records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Point:
    """A version in a chart of metrics."""

    index: int  # the number of the version
    values: Mapping[str, float]  # the metrics of the version; NaN and infinities are allowed
    epoch: float | None = None
    created: str = ""  # ISO 8601, in UTC
    flags: tuple[str, ...] = ()  # aliases and promotions to name in the chart
    is_best: bool = False
    monitor: str | None = None  # the metric by which the version is the best
    would_go: bool = False  # the chosen retention would delete it
    artifact: str = ""  # which artifact, if a chart shows several
    facts: Mapping[str, str] = field(default_factory=dict)  # more lines of the tooltip


class Cell(NamedTuple):
    """How far a layer has moved in a version: the relative norm of its change."""

    layer: str
    version: str
    change: float | None


class Stored(NamedTuple):
    """The bytes of a version."""

    version: str
    new: int  # stored for this version
    shared: int  # that other versions have stored
    saved: int  # that compression and coding save
