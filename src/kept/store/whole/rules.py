"""Decides whether a whole artifact may be removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import AliasProtected, KeptError, VersionInUse
from kept.names import is_automatic
from kept.store.rank.best import BEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

_SHOWN = 4  # aliases in a reason


class Stay(NamedTuple):
    """Why an artifact stays."""

    reason: str
    error: type[KeptError] | None = None  # of a call that names this artifact; None to skip it


@dataclass(frozen=True, slots=True)
class Rules:
    """Which artifacts of those that are named stay."""

    older_than: timedelta | None = None  # remove only if the newest version is older
    keep_aliased: bool = False  # skip those with aliases of their own
    force: bool = False  # remove those, too
    guarded: frozenset[str] = frozenset()  # aliases: not even force removes their versions

    def stay(self, newest: str, aliases: Iterable[str]) -> Stay | None:
        """Return why an artifact stays, None if it may go.

        newest is the time of its newest version, aliases are those of all its versions.
        """
        own = own_aliases(aliases)
        if guarded := sorted(self.guarded.intersection(own)):
            return Stay(protected(guarded), AliasProtected)
        if not self._is_old(newest):
            return Stay(f"its newest version is of {newest}")
        if own and not self.force:
            more = ", …" if len(own) > _SHOWN else ""
            named = f"{'alias' if len(own) == 1 else 'aliases'} {', '.join(own[:_SHOWN])}{more}"
            return Stay(named, None if self.keep_aliased else VersionInUse)
        return None

    def _is_old(self, newest: str) -> bool:
        if self.older_than is None:
            return True
        return datetime.fromisoformat(newest) <= datetime.now(UTC) - self.older_than


def protected(aliases: Sequence[str]) -> str:
    """Return the reason that an artifact with protected aliases stays."""
    return f"the alias {aliases[0]} is protected"


def own_aliases(aliases: Iterable[str]) -> list[str]:
    """Return the aliases that a person has put: not latest, best or those of epochs."""
    return sorted({alias for alias in aliases if alias != BEST and not is_automatic(alias)})
