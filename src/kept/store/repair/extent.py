"""How far a log goes: which records belong to it, and which lie beyond its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.store.log.events import Fault, Item, Wrong
from kept.store.log.records import number_of

if TYPE_CHECKING:
    from collections.abc import Collection


class Extent(NamedTuple):
    """The items of a log, and what lies beyond them."""

    items: list[Item]
    strays: list[int]  # numbers under which whole records of other places lie
    cut: int | None  # the first record after a gap that is too long to be filled


def extent(items: list[Item], paged: int, elsewhere: Collection[int]) -> Extent:
    """Find the end of a log that was read item by item.

    paged is the last record that a page holds. elsewhere are the numbers of faults whose bytes are
    a whole record of another place. A record that can be read, or that is damaged, belongs to the
    log, whatever lies before it.
    """
    numbers = [number_of(item) for item in items]
    jumps = (n for n in range(1, len(items)) if numbers[n] != numbers[n - 1] + 1)
    end = next(jumps, len(items))
    beyond = [item for item in items[end:] if not _is_missing(item)]
    strays = [number_of(item) for item in beyond if number_of(item) in elsewhere]
    belongs = [number_of(item) for item in beyond if number_of(item) not in elsewhere]
    kept = items[:end]
    while kept and number_of(kept[-1]) > paged and isinstance(kept[-1], Fault):
        number = number_of(kept[-1])
        if not _is_missing(kept[-1]):
            if number not in elsewhere:
                break
            strays.append(number)
        kept.pop()
    return Extent(kept, sorted(strays), min(belongs, default=None))


def _is_missing(item: Item) -> bool:
    return isinstance(item, Fault) and item.wrong is Wrong.MISSING
