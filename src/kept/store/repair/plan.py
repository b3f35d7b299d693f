"""What a repair will do, as values: the steps, and what stays lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kept.store.log.events import Event
    from kept.store.problems import Problem

ASIDE = "damaged/"  # replaced bytes lie below it, under their own keys


class Write(NamedTuple):
    """Write a small value; what lies under the key is set aside first."""

    key: str
    data: bytes
    why: str
    is_missing: bool = False  # nothing lay there: another writer may have filled the place since
    if_unreadable: bool = False  # only if the disk still cannot read the value: it was not known
    instead_of: str | None = None  # the digest of the value that it replaces, if it matters


class Fetch(NamedTuple):
    """Write a blob again, from a copy of its bytes."""

    key: str
    blob: str
    why: str


class SetAside(NamedTuple):
    """Move a value out of the way that cannot be read, or that is of no use."""

    key: str
    why: str
    cause: str | None = None  # the damaged key, if not this one: an error of a disk can pass


class Append(NamedTuple):
    """Add a record to a log, once the log is whole."""

    key: str  # the artifact
    event: Event
    why: str


Step = Write | Fetch | SetAside | Append


@dataclass(slots=True)
class Plan:
    """The steps of a repair in their order, and what no source has."""

    steps: list[Step] = field(default_factory=list)
    lost: list[Problem] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is damaged."""
        return not self.steps and not self.lost
