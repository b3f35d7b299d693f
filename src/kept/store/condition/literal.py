"""What a person writes in a condition, and how it compares with the value of a version.

Values of one kind compare: numbers with numbers, texts with texts, true and false with each other.
A word that reads as a number or as true also equals the text that is written the same.
"""

from __future__ import annotations

import fnmatch
import functools
import operator
import re
from dataclasses import dataclass

Scalar = int | float | str | bool
Value = Scalar | tuple[Scalar, ...]

_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
ORDER = tuple(_ORDER)


@dataclass(frozen=True, slots=True)
class Literal:
    """A value in a condition."""

    text: str  # as it was written, or the moment that it means
    number: int | float | None = None  # None if it does not read as a number
    flag: bool | None = None  # None if it is neither true nor false

    def equals(self, value: Scalar) -> bool:
        """Return whether a value is the same."""
        if isinstance(value, str):
            return value == self.text
        if isinstance(value, bool):
            return value is self.flag
        return self.number is not None and value == self.number

    def orders(self, symbol: str, value: Scalar) -> bool:
        """Return whether `value symbol literal` holds; never for values of another kind."""
        compare = _ORDER[symbol]
        if isinstance(value, bool):
            return False
        if isinstance(value, str):
            return self.number is None and bool(compare(value, self.text))
        return self.number is not None and bool(compare(value, self.number))

    def fits(self, value: Scalar) -> bool:
        """Return whether a text matches, as a whole: * stands for any text, ? for a character."""
        return isinstance(value, str) and glob_pattern(self.text).fullmatch(value) is not None


@functools.lru_cache(maxsize=256)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """Return the pattern of a text with * and ?; matching does not go back to an earlier *."""
    return re.compile(fnmatch.translate(glob.replace("[", "[[]")))


def holds(symbol: str, literals: tuple[Literal, ...], value: Value) -> bool:
    """Return whether one of the literals compares so with a value, or with an element of a list."""
    values = value if isinstance(value, tuple) else (value,)
    return any(_holds(symbol, literal, each) for literal in literals for each in values)


def _holds(symbol: str, literal: Literal, value: Scalar) -> bool:
    if symbol == "=":
        return literal.equals(value)
    if symbol == "~":
        return literal.fits(value)
    return literal.orders(symbol, value)
