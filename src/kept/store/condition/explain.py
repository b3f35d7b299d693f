"""The messages of conditions that cannot be parsed: the text, a mark under the place, a hint."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# What people write, and what it is here.
OPERATOR_HINTS = {
    "=>": ">=", "=<": "<=", "&": "and", "&&": "and", "|": "or", "||": "or", "!": "not",
    "===": "=", "!==": "!=", "=~": "~", "~=": "~", "~~": "~", "is": "=", "eq": "=", "ne": "!=",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "equals": "=", "matches": "~", "glob": "~",
    "like": '~ with * for any text: name ~ "*small*"',
    "contains": '~ with * for any text: name ~ "*small*"',
    "between": "two comparisons: name >= 1 and name <= 2",
}  # fmt: skip
_EXPECTED = {
    "OPERATOR": "an operator (= != < <= > >= ~ in)",
    "WORD": "a name or a value",
    "_AND": "and",
    "_OR": "or",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": "a comma",
    "$END": "the end",
}
_SHOWN = 120  # characters of a condition in a message


def expected_text(expected: Iterable[str], found: str) -> str:
    """Return what the grammar accepts instead of a token, in words."""
    hint = OPERATOR_HINTS.get(found.lower())
    if hint:
        return f"expected {hint}"
    wanted = set(expected)
    if "WORD" in wanted:
        return "expected a name or a value" + _quotes(found)
    names = [text for key, text in _EXPECTED.items() if key in wanted]
    return f"expected {', '.join(names[:-1])}{' or ' if names[1:] else ''}{names[-1]}"


def _quotes(found: str) -> str:
    is_keyword = found.lower() in ("and", "or", "not", "in")
    return f"; write {found!r} in quotes if it is one" if is_keyword else ""


def marked(text: str, start: int, length: int, hint: str) -> str:
    """Return a message of three lines: the hint, the text, and a mark under the place."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    first = max(0, start - _SHOWN // 2)
    cut = shown[first : first + _SHOWN]
    before, after = "…" * (first > 0), "…" * (first + _SHOWN < len(shown))
    mark = " " * (start - first + len(before)) + "^" * max(1, min(length, _SHOWN // 2))
    return f"The condition cannot be read: {hint}.\n  {before}{cut}{after}\n  {mark}"
