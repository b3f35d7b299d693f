"""What a check of a store has read and found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kept.errors import Damaged, RemoteError

if TYPE_CHECKING:
    from kept.store.problems import Problem


@dataclass(slots=True)
class Report:
    """How much verify has read, and the problems it has found."""

    versions: int = 0
    chunks: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)  # damage
    blobs: int = 0  # that were read
    skipped: int = 0  # blobs that the interrupted check had read, see resume
    all_blobs: int = 0  # that the versions need; with sample only some of them are read
    continues: str | None = None  # when the interrupted check began, see resume
    unread: list[Problem] = field(default_factory=list)  # that the server refused to send

    @property
    def ok(self) -> bool:
        """True if nothing is damaged, and nothing is unread."""
        return not self.problems and not self.unread

    def raise_if_damaged(self) -> None:
        """Raise Damaged with all problems, if any; or RemoteError with what is unread, if any."""
        if self.problems:
            raise Damaged("\n".join(map(str, self.problems)))
        if self.unread:
            raise RemoteError("\n".join(map(str, self.unread)))
