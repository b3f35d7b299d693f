"""What is wrong in a store, as a value and as a warning."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.errors import DamageWarning

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: the damage, and the version or artifact that has it."""

    where: str  # a reference (name:v3), an artifact's name if it concerns its log, or a key
    message: str
    key: str = ""  # what is damaged or missing in the store, if one key is

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def warn(where: str, messages: Iterable[str]) -> None:
    """Warn of damage that a call has found and gone around."""
    for message in messages:
        warnings.warn(str(Problem(where, message)), DamageWarning, stacklevel=3)
