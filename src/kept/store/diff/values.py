"""What differs between two values of JSON: metadata, metrics, or the configuration of a model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kept.store.diff.result import ValueChange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.store.log.history import VersionRecord

# Metadata about the moment of the save, in which two saves of the same state differ.
MEASURED = ("stall_seconds", "write_seconds", "bytes_new", "snapshot_bytes")
_MISSING = object()
_DEEPEST = 100  # levels; a configuration of Keras has about ten for each nested model


def differences(before: Any, after: Any, key: str = "", depth: int = 0) -> Iterator[ValueChange]:
    """Yield what differs, with a key such as "layers.dense.config.units".

    Items of a list that have names, such as layers, are compared by name. A value that only one
    side has is one change, however much is in it.
    """
    if depth < _DEEPEST and isinstance(before, dict) and isinstance(after, dict):
        yield from _of_objects(before, after, key, depth)
    elif depth < _DEEPEST and isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, key, depth)
    elif not _is_same(before, after):
        yield ValueChange(key, "changed", before, after)


def metrics_of(record: VersionRecord) -> dict[str, Any]:
    """Return the metrics of the save, and those that were logged later, which count."""
    saved = record.described.get("metrics")
    found = (saved if isinstance(saved, dict) else {}) | record.changes.metrics
    return {name: _number(value) for name, value in found.items()}


def metadata_of(record: VersionRecord) -> dict[str, Any]:
    """Return the metadata without metrics and what a save has measured; with tags and more."""
    left_out = ("metrics", *MEASURED)
    found = {key: value for key, value in record.described.items() if key not in left_out}
    changes = record.changes
    said = {"tags": list(changes.tags), "description": changes.description}
    return found | {key: value for key, value in said.items() if value}


def _of_objects(
    before: Mapping[str, Any], after: Mapping[str, Any], key: str, depth: int
) -> Iterator[ValueChange]:
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name, _MISSING), after.get(name, _MISSING)
        inner = f"{key}.{name}" if key else str(name)
        if other is _MISSING:
            yield ValueChange(inner, "removed", before=one)
        elif one is _MISSING:
            yield ValueChange(inner, "added", after=other)
        else:
            yield from differences(one, other, inner, depth + 1)


def _of_lists(before: list[Any], after: list[Any], key: str, depth: int) -> Iterator[ValueChange]:
    ours, theirs = _by_name(before), _by_name(after)
    if ours is not None and theirs is not None:
        yield from _of_objects(ours, theirs, key, depth)
    elif len(before) == len(after) and any(isinstance(each, (dict, list)) for each in before):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{key}.{number}", depth + 1)
    elif not _is_same(before, after):
        yield ValueChange(key, "changed", before, after)


def _by_name(items: list[Any]) -> dict[str, Any] | None:
    """Return the items by their names; None unless each has another name."""
    found: dict[str, Any] = {}
    for item in items:
        if not isinstance(item, dict):
            return None
        config = item.get("config")
        name = item.get("name") or (config.get("name") if isinstance(config, dict) else None)
        if not isinstance(name, str) or name in found:
            return None
        found[name] = item
    return found or None


def _is_same(before: Any, after: Any) -> bool:
    """Return whether two values are one in JSON: NaN equals NaN, and true is not 1."""
    if before is after:
        return True
    return json.dumps(before, sort_keys=True, default=str) == json.dumps(
        after, sort_keys=True, default=str
    )


def _number(value: Any) -> Any:
    """Return a metric as a number: a text stands for NaN or an infinity."""
    return float(value) if value in ("nan", "inf", "-inf") else value
