"""A parsed condition. A comparison with a value that a version lacks never holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.store.condition.literal import Literal, Value, holds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


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

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it reads, each once, in the order of the text."""
        return tuple(dict.fromkeys(self.root.names()))

    def found(self, values: Mapping[str, Value]) -> dict[str, Value | None]:
        """Return the value of each name that it reads, None for a missing one."""
        return {name: values.get(name) for name in self.names}
