"""The events of a log: their strict reader, and the chain that ties each record to its place.

A record names its artifact, and in `previous` the record before it: the digest of that record's
value, and every fact of it except its metadata. So a record that is swapped, replaced or lost is
noticed, and a single lost one can be written again.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import Enum
from operator import itemgetter
from reprlib import repr as short  # a damaged value can be megabytes long
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.digest import DIGEST, digest
from kept.errors import Damaged
from kept.store.encoding import Json, canonical
from kept.store.log.later_events import (
    LATER_CHECKS,
    LIMIT,
    check_index,
    check_moves,
    check_origin,
    check_text,
    check_word,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Event = dict[str, Any]
_USUAL = itemgetter("number", "index", "size", "event", "time", "aliases", "metadata", "previous",
                    "artifact")  # fmt: skip
_USUAL_TEXTS = itemgetter("manifest", "digest", "write_id", "type")
_USUAL_SIZE = 13  # keys
_PROVENANCE = (dict, int)
_LINES = 5  # line breaks between the texts of an event without aliases
_USUAL_LINES = re.compile(
    r"(?:[0-9a-f]{64}\n){2}[0-9a-f]{32}\n[A-Za-z0-9._-]{1,128}\n[^\n]{20,32}Z\n[0-9a-f]{64}"
    r"(?:\n[A-Za-z0-9._-]{1,128})*"
)
_STAMP = itemgetter("number", "time", "write_id")
_VERSION = itemgetter("index", "type", "manifest", "digest", "size", "aliases", "metadata")
_VERSION_TYPES = (int, str, str, str, int, list, dict)
ORIGIN = ("provenance", "parent", "uses")  # what a version's event says of its origin
# The facts of a record that the next one repeats.
REPEATED = ("event", "index", "manifest", "aliases", "time", "write_id", "expires", "deleted",
             "reason", "gc", "lost", "replaces", "by", "promotion", "metrics", "dataset",
             "evaluation", "description", "tags", "set", "note", "indexes", "moved_to", "best",
             *ORIGIN,
             )  # fmt: skip

REPAIRED = "kept_repair"  # in the metadata of a version whose record was lost


class Wrong(Enum):
    """What is wrong with a record."""

    DAMAGED = "damaged"  # it cannot be read, or is no event of this artifact and number
    MISSING = "missing"
    FOREIGN = "foreign"  # it does not follow the record before it
    REPEATED = "repeated"  # its version has the number of a later one
    SKIPPED = "skipped"  # no record has a version before its own


class Fault(NamedTuple):
    """A record that cannot be read, is missing, or does not belong where it lies."""

    number: int
    message: str  # names the record
    wrong: Wrong = Wrong.DAMAGED


Item = Event | Fault


def refusal(faults: list[Fault]) -> str:
    """Return the message of the error that faults cause."""
    return f"{'; '.join(fault.message for fault in faults[:3])}. Run kept repair."


def seal_of(event: Event) -> str:
    """Return the digest that seals an event's record; raises Damaged for one that is not JSON."""
    try:
        return digest(canonical(event))
    except ValueError as error:  # a number such as 1e999, which reads as infinity
        raise Damaged(f"Record {event.get('number')} is damaged: {error}") from None


def link_to(event: Event) -> Json:
    """Return what the record after an event states about it."""
    return {"blake3": seal_of(event)} | {key: event[key] for key in REPEATED if key in event}


def follows(event: Event, before: Event | None, seal: str | None = None) -> bool:
    """Return whether an event was written after this one, or after the one that this one replaces.

    Records of an earlier kept state nothing; they follow any record. Pass None for no record, and
    the seal of the record before if it is known already.
    """
    if "previous" not in event:
        return True
    link = event["previous"]
    if link is None or before is None:
        return link is before
    expected = link["blake3"]
    return bool(before.get("replaces") == expected or (seal or seal_of(before)) == expected)


def is_repaired(event: Event) -> bool:
    """Return whether a repair has written an event in the place of a lost one."""
    return "lost" in event or "replaces" in event or REPAIRED in event.get("metadata", ())


def is_later(event: Event) -> bool:
    """Return whether an event needs EVENTS_FORMAT, because an older kept does not know it."""
    return event["event"] in LATER_CHECKS


def is_fence(event: Event) -> bool:
    """Return whether an event says that a gc is about to delete."""
    return event["event"] == "alias" and "gc" in event


def certain(items: Iterable[Item]) -> Iterator[Event]:
    """Yield events; raises Damaged at the first fault."""
    for item in items:
        if isinstance(item, Fault):
            raise Damaged(refusal([item]))
        yield item


def check_event(event: Json, artifact: str, number: int) -> None:
    """Raise ValueError, with the reason, unless a value is an event of that artifact and number.

    Unknown keys are ignored, and unknown kinds of events refused.
    """
    if _is_usual(event, artifact, number):
        return
    if type(event) is not dict:
        raise ValueError("it is no object")
    try:
        kind = event["event"]
        check = _CHECKS.get(kind) if type(kind) is str else None
        if check is None:
            raise ValueError(f"it has the event {short(kind)}, which this kept does not know")
        found, moment, write_id = _STAMP(event)
        check_moment(moment)
        if type(found) is not int or found != number:
            raise ValueError(f"it is record {short(found)}")
        if event.get("artifact", artifact) != artifact:
            raise ValueError(f"it belongs to the artifact {short(event['artifact'])}")
        if type(write_id) is not str:
            raise ValueError(f"write_id is {short(write_id)}")
        check(event)
        check_text(event, "by")
        if event.get("previous") is not None:
            _check_link(event["previous"])
        if "replaces" in event:
            _check_digest(event["replaces"])
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from None


def _is_usual(event: Json, artifact: str, number: int) -> bool:
    """Return whether a value is surely an event that commits a version.

    This is what check_event would find out, in half the time, because a log has thousands of them.
    """
    try:
        (*counts, kind, moment, aliases, metadata, previous, name), texts = (
            _USUAL(event),
            _USUAL_TEXTS(event),
        )
        datetime.fromisoformat(moment)
        lines = "\n".join((*texts, moment, previous["blake3"], *aliases))
    except (KeyError, TypeError, ValueError, IndexError):
        return False
    found, index, size = counts
    return (
        kind == "version"
        and name == artifact
        and found == number
        and type(found) is type(index) is type(size) is int
        and 0 <= index < LIMIT
        and 0 <= size < LIMIT
        and type(aliases) is list
        and type(metadata) is type(previous) is dict
        and lines.count("\n") == _LINES + len(aliases)  # no text has a line break itself
        and _USUAL_LINES.fullmatch(lines) is not None
        and len(event) == _USUAL_SIZE + ("provenance" in event)
        and type(event.get("provenance", 0)) in _PROVENANCE
    )


def _check_version(event: Event) -> None:
    values = _VERSION(event)
    if tuple(map(type, values)) != _VERSION_TYPES:
        raise ValueError("a field has a wrong type")
    index, kind, manifest, content, size, aliases, _ = values
    if not (0 <= index < LIMIT and 0 <= size < LIMIT):
        raise ValueError(f"index {index} or size {size} is out of range")
    _check_digest(manifest)
    _check_digest(content)
    check_word(kind)
    for alias in aliases:
        check_word(alias)
    if event.get("deleted", True) is not True:
        raise ValueError(f"deleted is {short(event['deleted'])}")
    if event.get("expires") is not None:
        check_moment(event["expires"])
    check_origin(event)


def _check_alias(event: Event) -> None:
    check_moves(event["aliases"])
    if "expires" in event:
        check_index(event["index"])
        if event["expires"] is not None:
            check_moment(event["expires"])
    check_text(event, "gc")
    for index in event.get("lost", ()):
        check_index(index)
    if type(event.get("promotion", {})) is not dict:
        raise ValueError(f"promotion is {short(event['promotion'])}")


def _check_delete(event: Event) -> None:
    check_index(event["index"])
    check_text(event, "reason")


_CHECKS: dict[str, Callable[[Event], None]] = {
    "version": _check_version,
    "alias": _check_alias,
    "delete": _check_delete,
    "undelete": _check_delete,
    **LATER_CHECKS,
}


def _check_link(link: Json) -> None:
    if type(link) is not dict:
        raise ValueError("previous is no object")
    _check_digest(link["blake3"])


def check_moment(moment: Json) -> None:
    """Raise ValueError unless a value is a time with its zone, in ISO 8601."""
    if type(moment) is not str or datetime.fromisoformat(moment).tzinfo is None:
        raise ValueError(f"{short(moment)} is no time in UTC")


def _check_digest(name: Json) -> None:
    if type(name) is not str or not DIGEST.fullmatch(name):
        raise ValueError(f"{short(name)} is no digest")
