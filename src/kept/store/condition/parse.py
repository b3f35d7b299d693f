"""Parses conditions: "framework = jax and (test_acc > 0.9 or tags in (good, best))"."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCondition
from kept.store.condition.explain import OPERATOR_HINTS, expected_text, marked
from kept.store.condition.fields import canonical_name
from kept.store.condition.literal import ORDER
from kept.store.condition.nodes import Both, Comparison, Condition, Has, Node, Not
from kept.store.condition.words import Place, literal_of

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

_GRAMMAR = r"""
    start: either
    ?either: both (_OR both)*
    ?both: negation (_AND negation)*
    ?negation: _NOT negation -> negation
        | "(" either ")"
        | comparison
    comparison: word OPERATOR word -> compared
        | word _IN words -> one_of
        | word _NOT _IN words -> none_of
        | word -> has
    words: "(" word ("," word)* ")"
    word: WORD | QUOTED

    _AND.2: /and(?=[\s()]|$)/i
    _OR.2: /or(?=[\s()]|$)/i
    _NOT.2: /not(?=[\s()]|$)/i
    _IN.2: /in(?=[\s()]|$)/i
    OPERATOR: /[<>=!~&|]+/
    WORD: /[^\s()<>=!~&|,"']+/
    QUOTED: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
    %ignore /\s+/
"""
_OPERATORS = {"=": "=", "==": "=", "!=": "=", "<>": "=", "~": "~", "!~": "~"}
_OPERATORS |= {symbol: symbol for symbol in ORDER}
_NEGATIVE = ("!=", "!~", "<>")
_LONGEST = 20_000  # characters
_MOST = 200  # comparisons; SQLite nests expressions less than 1000 deep
_DEEPEST = 50
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse(text: str, now: datetime | None = None) -> Condition:
    """Return the condition that a text states; spans such as 7d count back from now.

    Raises InvalidCondition, whose message has a line with a mark under the wrong place.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidCondition(
            f"A condition is a text such as 'test_acc >= 0.9 and framework = jax'. "
            f"Received: {text!r}"
        )
    if len(text) > _LONGEST:
        raise InvalidCondition(
            f"A condition has at most {_LONGEST} characters. Received: {len(text)}."
        )
    root = _Reader(text, now or datetime.now(UTC)).node(_tree(text).children[0], 0)
    condition = Condition(text, root)
    if sum(1 for _ in root.names()) > _MOST:
        raise InvalidCondition(
            f"A condition has at most {_MOST} comparisons; to compare with a list, write: "
            "name in (a, b, c)."
        )
    return condition


@functools.cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr", lexer="basic", propagate_positions=True)


def _tree(text: str) -> Tree[Any]:
    from lark import Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

    try:
        parsed = _parser().parse(text)
    except UnexpectedCharacters as error:  # only a quote begins no token
        start = error.pos_in_stream or 0
        what = "a closing quote" if text[start] in "\"'" else "another character"
        raise InvalidCondition(marked(text, start, 1, f"expected {what}")) from None
    except UnexpectedToken as error:
        token: Token = error.token
        start = len(text.rstrip()) if token.type == "$END" else token.start_pos or 0
        hint = expected_text(error.accepts or error.expected, str(token))
        raise InvalidCondition(marked(text, start, len(token) or 1, hint)) from None
    except UnexpectedInput as error:
        raise InvalidCondition(marked(text, error.pos_in_stream or 0, 1, "unreadable")) from None
    assert isinstance(parsed, Tree)
    return parsed


class _Reader:
    """Turns the tree of the grammar into nodes."""

    def __init__(self, text: str, now: datetime) -> None:
        self._text, self._now = text, now

    def node(self, tree: Tree[Any], depth: int) -> Node:
        if depth > _DEEPEST:
            raise InvalidCondition(f"A condition has at most {_DEEPEST} parts inside each other.")
        match tree.data:
            case "either" | "both":
                parts = tuple(self.node(child, depth + 1) for child in tree.children)
                return Both(parts, any_part=tree.data == "either")
            case "negation":
                return Not(self.node(tree.children[0], depth + 1))
            case "has":
                return Has(self._name(tree.children[0]))
            case "compared":
                name, operator, word = tree.children
                return self._compared(self._name(name), operator, word)
        name, words = tree.children
        field = self._name(name)
        places = [self._place(word, field, "=") for word in words.children]
        literals = tuple(literal_of(place, self._now) for place in places)
        return Comparison(field, "=", literals, is_negative=tree.data == "none_of")

    def _compared(self, name: str, operator: Any, word: Tree[Any]) -> Node:
        written = str(operator)
        symbol = _OPERATORS.get(written)
        if symbol is None:
            hint = OPERATOR_HINTS.get(written, "an operator: = != < <= > >= ~ in")
            start = operator.start_pos or 0
            raise InvalidCondition(marked(self._text, start, len(written), f"expected {hint}"))
        literal = literal_of(self._place(word, name, symbol), self._now)
        return Comparison(name, symbol, (literal,), is_negative=written in _NEGATIVE)

    def _name(self, word: Tree[Any]) -> str:
        place = self._place(word, "", "")
        if not place.is_quoted and place.word[0] in "0123456789+-.":
            raise InvalidCondition(
                place.marked("expected a name; write the name first: test_acc > 0.9")
            )
        return canonical_name(place.word)

    def _place(self, word: Tree[Any], name: str, symbol: str) -> Place:
        token: Any = word.children[0]
        written, is_quoted = str(token), token.type == "QUOTED"
        read = _ESCAPED.sub(r"\1", written[1:-1]) if is_quoted else written
        start = token.start_pos or 0
        return Place(self._text, start, len(written), read, is_quoted, name, symbol)
