"""What can be imported: checkpoints, each with what is known of it, and the plan to import them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kept.names import check_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from kept.store.version import Version

ORIGIN = "imported_from"  # in the metadata of a version: names the checkpoint that it was
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 128  # characters of a name


@dataclass(frozen=True)
class Facts:
    """What is known of a checkpoint before it is read."""

    label: str  # names it in the plan
    origin: dict[str, Any]  # names it in the metadata of its version; equal for equal checkpoints
    epoch: int | None = None  # counted from 0, as in the metadata of callbacks
    step: int | None = None
    metrics: dict[str, float | str] = field(default_factory=dict)
    saved_at: str | None = None
    size: int | None = None
    aliases: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)  # what else is known
    note: str = ""  # for the plan


class Item(ABC):
    """A checkpoint of another program."""

    facts: Facts

    @abstractmethod
    def files(self) -> AbstractContextManager[Sequence[str]]:
        """Fetch and check the checkpoint; yield paths, as log_artifact takes them.

        Raises KeptError or OSError for one that cannot be used. Keras is not needed.
        """

    def read_metadata(self) -> dict[str, Any]:
        """Return the metadata that the files state, such as format; called within files."""
        return {}

    def source_answers(self) -> bool:
        """Return whether the source answers; called after a fetch that failed."""
        return True

    def is_in(self, version: Version) -> bool:
        """Return whether a version is this checkpoint, although its origin has other facts.

        It is called if the origins have the same file, for example after a copy with new dates,
        and for the version of the checkpoint before it.
        """
        del version
        return False


@dataclass(frozen=True)
class Plan:
    """The checkpoints to import, in the order of their versions."""

    name: str  # of the artifact
    items: Sequence[Item]
    left_out: Sequence[str] = ()  # other files beside them
    notes: Sequence[str] = ()  # what a person should know before the import
    type: str = "model"
    has_best: bool = False  # whether the aliases of the checkpoints say which is the best


def name_from(text: str) -> str:
    """Return the name of an artifact, or a type, for that of something else; raises InvalidName."""
    return check_name(_UNFIT.sub("-", text).strip("-")[:_LONGEST])
