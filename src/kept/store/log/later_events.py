"""The checks of events about versions that exist already; they need EVENTS_FORMAT.

| event | keys | meaning |
|---|---|---|
| metrics | index, metrics; optionally dataset, evaluation, aliases | values measured later |
| update | index; optionally description, tags, set, note | what people say of a version |
| remove | indexes; optionally moved_to | deletes these versions |
| restore | indexes | takes the deletion of these versions back |
| rule | best; optionally aliases | which metric decides the alias best |
"""

from __future__ import annotations

import math
from reprlib import repr as short
from typing import TYPE_CHECKING

from kept.names import is_word
from kept.store.encoding import NOT_FINITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.store.encoding import Json

LIMIT = 2**63  # numbers in a store are smaller
NAME_LENGTH = 256  # characters of a metric, a data set, an evaluation or a tag


def check_index(index: Json) -> None:
    """Raise ValueError unless a value can be the number of a version."""
    if type(index) is not int or not 0 <= index < LIMIT:
        raise ValueError(f"{short(index)} is no number of a version")


def check_word(word: Json) -> None:
    """Raise ValueError unless a value has the form of names and aliases."""
    if not is_word(word):
        raise ValueError(f"{short(word)} is no name")


def check_text(event: Json, key: str) -> None:
    """Raise ValueError unless the event has a text under a key, or nothing."""
    if type(event.get(key, "")) is not str:
        raise ValueError(f"{key} is {short(event[key])}")


def check_moves(aliases: Json) -> None:
    """Raise ValueError unless a value maps aliases to numbers of versions, or to null."""
    if type(aliases) is not dict:
        raise ValueError("aliases is no object")
    for alias, index in aliases.items():
        check_word(alias)
        if index is not None:
            check_index(index)


def check_origin(event: Json) -> None:
    """Raise ValueError unless what an event says about a version's origin has the right form."""
    provenance = event.get("provenance", 0)
    if type(provenance) is not dict:
        check_index(provenance)
    if type(event.get("parent", {})) is not dict:
        raise ValueError("parent is no object")
    uses = event.get("uses", [])
    if type(uses) is not list or any(type(each) is not dict for each in uses):
        raise ValueError("uses is no list of objects")


def is_label(value: object) -> bool:
    """Return whether a value can name a metric, a data set, an evaluation or a tag."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= NAME_LENGTH
        and value.isprintable()
        and value == value.strip()
    )


def is_measured(value: object) -> bool:
    """Return whether a value can be that of a metric: a number, or a text for one that JSON lacks.

    An integer has at most 64 bits.
    """
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -LIMIT <= value < LIMIT
    return math.isfinite(value) if isinstance(value, float) else value in NOT_FINITE


def _check_metrics(event: Json) -> None:
    check_index(event["index"])
    metrics = event["metrics"]
    if type(metrics) is not dict:
        raise ValueError("metrics is no object")
    for name, value in metrics.items():
        _check_label(name)
        if not is_measured(value):
            raise ValueError(f"the metric {short(name)} is {short(value)}")
    for key in ("dataset", "evaluation"):
        if key in event:
            _check_label(event[key])
    check_moves(event.get("aliases", {}))


def _check_update(event: Json) -> None:
    check_index(event["index"])
    if event.get("description") is not None:
        check_text(event, "description")
    check_text(event, "note")
    tags, values = event.get("tags", {}), event.get("set", {})
    if type(tags) is not dict or type(values) is not dict:
        raise ValueError("tags or set is no object")
    for tag, has in tags.items():
        _check_label(tag)
        if type(has) is not bool:
            raise ValueError(f"the tag {short(tag)} is {short(has)}")


def _check_several(event: Json) -> None:
    indexes = event["indexes"]
    if type(indexes) is not list:
        raise ValueError("indexes is no list")
    for index in indexes:
        check_index(index)
    if "moved_to" in event:
        check_word(event["moved_to"])


def _check_rule(event: Json) -> None:
    best = event["best"]
    if best is not None:
        if type(best) is not dict:
            raise ValueError("best is no object")
        _check_label(best["monitor"])
        if best["mode"] not in ("min", "max"):
            raise ValueError(f"mode is {short(best['mode'])}")
    check_moves(event.get("aliases", {}))


def _check_label(value: Json) -> None:
    if not is_label(value):
        raise ValueError(f"{short(value)} is no name of a metric, data set or tag")


LATER_CHECKS: dict[str, Callable[[Json], None]] = {
    "metrics": _check_metrics,
    "update": _check_update,
    "remove": _check_several,
    "restore": _check_several,
    "rule": _check_rule,
}
