"""What the metadata of a version say of its health: of NaN, dead units and the norm of its weights.

A callback measures it while it saves, and docs/health.md says how. The metadata are `health`,
`health_findings` and `weights_norm`. Other programs write metadata too, so each value is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kept.store.encoding import as_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.log.history import VersionRecord

OK, NOTES, UNHEALTHY = "ok", "notes", "unhealthy"
STATES = (OK, NOTES, UNHEALTHY)
STATE, FINDINGS, NORM = "health", "health_findings", "weights_norm"  # keys of the metadata
MOST_FINDINGS = 8
NOT_MEASURED = "not measured"
_LONGEST = 500  # characters of a finding


class Health(NamedTuple):
    """The health of a version, as it was measured at its save."""

    state: str | None  # "ok", "notes" or "unhealthy"; None if it was not measured
    findings: tuple[str, ...] = ()  # empty if it is ok
    norm: float | None = None  # the L2 norm of all weights

    def __str__(self) -> str:
        return self.state or NOT_MEASURED

    @property
    def is_unhealthy(self) -> bool:
        """Whether the version must not become the best one."""
        return self.state == UNHEALTHY

    @property
    def is_marked(self) -> bool:
        """Whether there is something to show: it was measured, and not ok."""
        return self.state not in (None, OK)


def health_of(record: VersionRecord) -> Health:
    """Return the health of a version; a value that a person set later counts."""
    return health_in(record.described)


def is_unhealthy(metadata: Mapping[str, Any]) -> bool:
    """Return whether metadata say that their version must not become the best one."""
    return metadata.get(STATE) == UNHEALTHY


def health_in(metadata: Mapping[str, Any]) -> Health:
    """Return the health that metadata state."""
    state, found = metadata.get(STATE), metadata.get(FINDINGS)
    known = state if isinstance(state, str) and state in STATES else None
    if known is None:
        return Health(None)
    texts = [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
    short = tuple(text[:_LONGEST] for text in texts[:MOST_FINDINGS])
    return Health(known, short, as_number(metadata.get(NORM)))
