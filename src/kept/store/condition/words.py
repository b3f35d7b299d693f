"""Reads the words of a condition: numbers, sizes, spans of time, moments, true and false."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kept.errors import InvalidCondition, InvalidInput
from kept.store.condition.explain import marked
from kept.store.condition.fields import MOMENTS
from kept.store.condition.literal import ORDER, Literal
from kept.units import parse_bytes, parse_span, time_text

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_VERSION = re.compile(r"v(\d{1,18})")
_SPAN_LIKE = re.compile(r"\d+(\.\d+)?\s*[A-Za-z]+(\s+ago)?")
_AGO = re.compile(r"\s+ago")


@dataclass(frozen=True, slots=True)
class Place:
    """A word of a condition, and where it stands."""

    condition: str
    start: int
    length: int
    word: str
    is_quoted: bool
    name: str  # with which it is compared
    symbol: str

    def marked(self, hint: str) -> str:
        """Return a message that points to the word."""
        return marked(self.condition, self.start, self.length, hint)


def literal_of(place: Place, now: datetime) -> Literal:
    """Return what a word means beside its name; raises InvalidCondition."""
    if place.name in MOMENTS and place.symbol != "~":
        return Literal(_moment(place, now))
    if place.is_quoted or place.symbol == "~":
        return Literal(place.word)
    number = _number(place)
    flag = {"true": True, "false": False}.get(place.word.lower())
    if place.symbol in ORDER and number is None:
        raise InvalidCondition(
            place.marked(
                f"expected a number after {place.symbol}, such as 0.9, 1GB or 12h; to compare "
                "texts, write the value in quotes"
            )
        )
    return Literal(place.word, number, flag)


def _number(place: Place) -> int | float | None:
    word = place.word
    if place.name == "version" and (found := _VERSION.fullmatch(word)):
        return int(found[1])
    if _INTEGER.fullmatch(word):
        return int(word)
    if _NUMBER.fullmatch(word):
        return float(word)
    size = _size(word)
    return _span(word) if size is None else size


def _size(word: str) -> int | None:
    try:
        return parse_bytes(word, "A size")
    except (InvalidInput, OverflowError):
        return None


def _span(word: str) -> float | None:
    try:
        return parse_span(word, "A time").total_seconds()
    except InvalidInput:
        return None


def _moment(place: Place, now: datetime) -> str:
    """Return a moment in the form of the logs: a span before now, or a date of this machine."""
    seconds = _span(_AGO.sub("", place.word))
    if seconds is not None and place.symbol in ORDER:
        try:
            return time_text(now - timedelta(seconds=seconds))
        except OverflowError:
            return time_text(datetime(1, 1, 2, tzinfo=UTC))
    try:
        moment = datetime.fromisoformat(place.word).astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None and place.symbol in ORDER and _SPAN_LIKE.fullmatch(place.word):
        raise InvalidCondition(
            place.marked(
                f"expected a moment after {place.name}: a span before now has the unit s, min, h, "
                "d or w, such as 7d, and is less than 300 years; or write a date"
            )
        )
    if moment is None or place.symbol not in ORDER:
        raise InvalidCondition(
            place.marked(
                f"expected a moment after {place.name}, with < <= > or >=: 7d (7 days ago), "
                "2026-11-30 or 2026-11-30T14:00"
            )
        )
    return time_text(moment)
