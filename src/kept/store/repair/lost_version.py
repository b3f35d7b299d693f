"""A version whose record is lost: what its new record states, from what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.digest import digest
from kept.store.content.manifest import Manifest
from kept.store.log.events import ORIGIN, REPAIRED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kept.store.log.events import Event
    from kept.store.repair.orphans import Orphans

_FOUND = "The record was lost. kept repair wrote this one; facts may be missing."
_LOST = "The record of this version is lost."
_KNOWN = ("time", "write_id", "expires", "deleted", *ORIGIN)
_EMPTY = Manifest(())
_EMPTY_NAME = digest(_EMPTY.encode())


def is_lost(event: Event) -> bool:
    """Return whether an event only marks the place of a version of which nothing is left."""
    return event["event"] == "version" and bool(event["metadata"].get(REPAIRED) == _LOST)


def missing_version(events: Sequence[Event], number: int) -> int | None:
    """Return the version that has to lie at a place in a log, None if none has to."""
    later = [event["index"] for event in _versions(events) if event["number"] > number]
    expected = _newest_before(events, number) + 1
    return expected if later and min(later) > expected else None


def version_facts(
    events: Sequence[Event], number: int, facts: Mapping[str, Any], orphans: Orphans
) -> dict[str, Any]:
    """Return the facts of the version at a place: its number, and its content if it exists.

    If its content does not exist, the version is deleted from the start. So its number is not used
    again.
    """
    index = missing_version(events, number)
    if index is None and type(facts.get("index")) is int and "blake3" in facts:
        index = facts["index"]
    before = max((e for e in events if e["number"] < number), key=_number, default=None)
    kin = [event["manifest"] for event in _versions(events) if "manifest" in event]
    manifest = orphans.of(facts.get("manifest"), before, kin)
    known = {key: facts[key] for key in _KNOWN if key in facts}
    found = known | {
        "event": "version",
        "index": _newest_before(events, number) + 1 if index is None else index,
        "type": next((event["type"] for event in _versions(events)), "model"),
        "aliases": [alias for alias in facts.get("aliases", ()) if isinstance(alias, str)],
    }
    if manifest is None:
        return found | {
            "manifest": facts.get("manifest", _EMPTY_NAME),
            "digest": _EMPTY.digest,
            "size": 0,
            "metadata": {REPAIRED: _LOST},
            "deleted": True,
        }
    return found | {
        "manifest": manifest[0],
        "digest": manifest[1].digest,
        "size": manifest[1].size,
        "metadata": (facts.get("metadata") or {}) | {REPAIRED: _FOUND},
    }


def _versions(events: Sequence[Event]) -> Iterator[Event]:
    return (event for event in events if event["event"] == "version")


def _number(event: Event) -> int:
    return int(event["number"])


def _newest_before(events: Sequence[Event], number: int) -> int:
    earlier = (event["index"] for event in _versions(events) if event["number"] < number)
    return max(earlier, default=-1)
