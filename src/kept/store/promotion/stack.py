"""Which versions had an alias before, as a log states it: the way back of a rollback.

The moves of an alias are a stack. A move puts a version on it; a rollback takes away all that is
above the version it goes back to. So two rollbacks go two moves back, not forth and back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.log.events import Event

_NOT_MENTIONED = -1


def target_of(event: Event, alias: str) -> int | None:
    """Return where an event puts an alias: a version, None to remove it, or -1 for nowhere."""
    if event["event"] == "version":
        return int(event["index"]) if alias in event["aliases"] else _NOT_MENTIONED
    moved: int | None = event.get("aliases", {}).get(alias, _NOT_MENTIONED)
    return moved


def earlier_holders(oldest_first: Iterable[Event], alias: str, now: int | None) -> Iterator[int]:
    """Yield the versions that had an alias before, the last one first, deleted ones too.

    now is the version that has it. Each is yielded once.
    """
    stack = _stack(oldest_first, alias)
    if stack and stack[-1] == now:
        stack.pop()
    seen = {now, None}
    for index in reversed(stack):
        if index is not None and index not in seen:
            seen.add(index)
            yield index


def _stack(oldest_first: Iterable[Event], alias: str) -> list[int | None]:
    stack: list[int | None] = []
    for event in oldest_first:
        index = target_of(event, alias)
        if index == _NOT_MENTIONED:
            continue
        if event.get("promotion", {}).get("action") == "rollback" and index in stack[:-1]:
            del stack[len(stack) - 1 - stack[-2::-1].index(index) :]
        if not stack or stack[-1] != index:
            stack.append(index)
    return stack
