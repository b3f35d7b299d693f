"""The lineage of a version, as lists within lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.errors import InvalidReference
from kept.names import parse_reference
from kept.store.origin.lineage import Lineage, lineage_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.log.history import VersionRecord
    from kept.web.reading.reader import Reader

MOST = 100  # nodes in each direction
_DEEPEST = 30  # levels: more cannot be laid out


class Relative(NamedTuple):
    """A version or source in the lineage."""

    node: Lineage
    name: str | None  # the artifact, if the page of it can be linked
    number: int | None  # of the version
    level: int  # 1 for a direct relative


class Family(NamedTuple):
    """What a version was made from, and what was made from it, in the order of a tree."""

    up: list[Relative]
    down: list[Relative]
    hidden: int  # relatives that are not listed


def family_of(reader: Reader, name: str, record: VersionRecord) -> Family:
    """Return the lineage of a version; raises Damaged or RemoteError."""
    root = lineage_of(reader.store.logs, name, record)
    up, hidden_up = _listed(root.up, is_up=True)
    down, hidden_down = _listed(root.down, is_up=False)
    return Family(up, down, hidden_up + hidden_down)


def _listed(nodes: list[Lineage], *, is_up: bool) -> tuple[list[Relative], int]:
    every = list(_walk(nodes, is_up=is_up))
    return every[:MOST], max(len(every) - MOST, 0)


def _walk(nodes: Iterable[Lineage], *, is_up: bool) -> Iterator[Relative]:
    waiting = [(node, 1) for node in reversed(list(nodes))]
    while waiting:  # no recursion: a run that was resumed 1,000 times has 1,000 levels
        node, level = waiting.pop()
        yield Relative(node, *_place(node), min(level, _DEEPEST))
        following = node.up if is_up else node.down
        waiting += [(each, level + 1) for each in reversed(following)]


def _place(node: Lineage) -> tuple[str | None, int | None]:
    """Return the artifact and the number of a version of this store."""
    if node.store is not None or node.state not in ("exists", "deleted", "repeated"):
        return None, None
    try:
        wanted = parse_reference(node.reference)
    except InvalidReference:
        return None, None
    return (wanted.name, wanted.index) if wanted.index is not None else (None, None)
