"""The answer of a search: some values of each version."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.store.condition.fields import OWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kept.store.condition.literal import Value


class Selection(NamedTuple):
    """Values of versions, in the order of the query."""

    names: tuple[str, ...]
    rows: list[tuple[Value | None, ...]]  # one for each version, a value for each name

    def compact(self) -> Selection:
        """Return the same without names that no version has, those of the version itself first."""
        columns = zip(*self.rows, strict=True)
        has = [any(value is not None for value in column) for column in columns]
        found = [place for place, has_value in enumerate(has) if has_value]
        found.sort(key=lambda place: _rank(self.names[place]))
        rows = [tuple(row[place] for place in found) for row in self.rows]
        return Selection(tuple(self.names[place] for place in found), rows)


def _rank(name: str) -> tuple[int, str]:
    return (OWN.index(name) if name in OWN else len(OWN), name)


def selection_of(
    versions: Iterable[Mapping[str, Value]], wanted: Iterable[str] | None
) -> Selection:
    """Return the values of these names, or of all, for versions in their order."""
    every = list(versions)
    if wanted is None:
        wanted = dict.fromkeys(name for values in every for name in values)
    names = tuple(wanted)
    return Selection(names, [tuple(values.get(name) for name in names) for values in every])
