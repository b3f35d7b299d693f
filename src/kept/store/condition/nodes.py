"""A parsed condition. A comparison with a value that a version lacks never holds.

A search takes `not` of that as true. The gate of a promotion does not: its verdict is None, unless
the rest of the condition decides, whatever the missing value is. NaN counts as missing there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.store.condition.literal import Literal, Value, holds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


NAN = "nan"  # as JSON has it


@dataclass(frozen=True, slots=True)
class Comparison:
    """One of the literals compares so with the value of a name.

    A negative comparison holds if none does: for !=, !~ and not in. Of a list, one element is
    enough, or for a negative comparison no element may do it.
    """

    name: str
    symbol: str  # = ~ < <= > >=
    literals: tuple[Literal, ...]
    is_negative: bool = False

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Return whether it holds for the values of a version."""
        value = values.get(self.name)
        return value is not None and holds(self.symbol, self.literals, value) != self.is_negative

    def verdict(self, values: Mapping[str, Value]) -> bool | None:
        """Return whether it holds, None if the version has no such value."""
        value = values.get(self.name)
        wants_nan = any(literal.text == NAN for literal in self.literals)
        is_known = value is not None and (value != NAN or wants_nan)
        return self.holds(values) if is_known else None

    def names(self) -> Iterator[str]:
        """Yield the names that it reads."""
        yield self.name


@dataclass(frozen=True, slots=True)
class Has:
    """The version has a value of this name; an empty list is none."""

    name: str

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Return whether it holds for the values of a version."""
        return values.get(self.name, ()) != ()

    def verdict(self, values: Mapping[str, Value]) -> bool | None:
        """Return whether it holds: a missing value is an answer here."""
        return self.holds(values)

    def names(self) -> Iterator[str]:
        """Yield the names that it reads."""
        yield self.name


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Node

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Return whether it holds for the values of a version."""
        return not self.part.holds(values)

    def verdict(self, values: Mapping[str, Value]) -> bool | None:
        """Return whether it holds, None if missing values leave that open."""
        found = self.part.verdict(values)
        return None if found is None else not found

    def names(self) -> Iterator[str]:
        """Yield the names that it reads."""
        return self.part.names()


@dataclass(frozen=True, slots=True)
class Both:
    """All parts hold, or with any_part one of them."""

    parts: tuple[Node, ...]
    any_part: bool = False

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Return whether it holds for the values of a version."""
        found = (part.holds(values) for part in self.parts)
        return any(found) if self.any_part else all(found)

    def verdict(self, values: Mapping[str, Value]) -> bool | None:
        """Return whether it holds, None if missing values leave that open."""
        found = {part.verdict(values) for part in self.parts}
        if self.any_part in found:  # one part decides
            return self.any_part
        return None if None in found else not self.any_part

    def names(self) -> Iterator[str]:
        """Yield the names that it reads."""
        for part in self.parts:
            yield from part.names()


Node = Comparison | Has | Not | Both


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a version."""

    text: str
    root: Node

    def __str__(self) -> str:
        return self.text

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Return whether it holds for the values of a version; fields.values_of returns them."""
        return self.root.holds(values)

    def verdict(self, values: Mapping[str, Value]) -> bool | None:
        """Return whether it holds whatever the missing values are, None if they leave that open."""
        return self.root.verdict(values)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it reads, each once, in the order of the text."""
        return tuple(dict.fromkeys(self.root.names()))

    def found(self, values: Mapping[str, Value]) -> dict[str, Value | None]:
        """Return the value of each name that it reads, None for a missing one."""
        return {name: values.get(name) for name in self.names}
