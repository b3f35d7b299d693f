"""Finds out what a lost record said: exactly if that can be proved, or else by what is left."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from kept.digest import DIGEST, digest
from kept.errors import Damaged
from kept.store.encoding import canonical, parse, seal
from kept.store.log.events import REPEATED, Event, check_event, follows, link_to, seal_of
from kept.store.repair.bits import differs_in_one_bit, flipped_back

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.bucket.base import Buffer
    from kept.store.encoding import Json

_START, _END = 85, 1  # bytes before and after the value of a sealed record
_OWN = ("number", "previous", "replaces", "gc")  # of the log that a record lies in
_TEXTS = ("event", "manifest", "digest", "type", "time", "write_id")


def fits(event: Event, before: Event | None, link: Json) -> bool:
    """Return whether the chain allows an event between its neighbours.

    before is the event before it, if known; link is what the event after it states, if anything.
    """
    is_proved = link is None or seal_of(event) == link["blake3"]
    return is_proved and (before is None or follows(event, before))


def mended(data: Buffer, artifact: str, number: int, link: Json) -> Event | None:
    """Return the event of a record in which one bit is wrong, or only its seal."""
    body, head = bytes(data[_START:-_END]), bytes(data[11:75]).decode("latin-1")
    wanted = link["blake3"] if link else head
    right = flipped_back(body, wanted) if DIGEST.fullmatch(wanted) else None
    if right is None and not differs_in_one_bit(bytes(data), _sealed(body)):
        return None
    return _event(right or body, artifact, number)


def copied(copy: Event, artifact: str, number: int, before: Event | None, link: Json) -> Event:
    """Return the record that a mirror's copy of it was made from, exactly if that is possible."""
    facts = {key: copy[key] for key in copy if key not in (*_OWN, "artifact")}
    if link and "event" in link:  # a copy can lack aliases that moved later, or be deleted
        facts = {key: facts[key] for key in facts if key not in REPEATED}
        facts |= {key: link[key] for key in link if key != "blake3"}
    chained = facts | {
        "artifact": artifact,
        "number": number,
        "previous": link_to(before) if before else None,
    }
    unchained = facts | {"number": number}  # as an earlier kept wrote it
    exact = [event for event in (chained, unchained) if link and seal_of(event) == link["blake3"]]
    return next(iter(exact), chained)


def salvaged(data: Buffer | None) -> dict[str, Any]:
    """Return the facts that can be read in the bytes of a damaged record; none is certain."""
    text = bytes(data or b"").decode("latin-1")
    found: dict[str, Any] = {}
    for key in _TEXTS:
        if match := re.search(rf'"{key}":"([A-Za-z0-9._:+-]{{1,128}})"', text):
            found[key] = match[1]
    if match := re.search(r'"index":([0-9]{1,15})[,}]', text):
        found["index"] = int(match[1])
    for key, kind in (("aliases", list), ("metadata", dict)):
        value = _value_of(text, key)
        if isinstance(value, kind) and _is_json(value):
            found[key] = value
    return found


def substitute(
    facts: Mapping[str, Any], artifact: str, number: int, before: Event | None, link: Json
) -> Event:
    """Return a record in place of one that is lost, made of the facts that are known of it."""
    seed = f"{artifact} {number} {seal_of(before) if before else ''}"
    event: Event = {
        "event": "alias", "aliases": {}, "time": before["time"] if before else _LONG_AGO,
        "write_id": digest(seed.encode())[:32],
    } | dict(facts) | {
        "artifact": artifact, "number": number, "previous": link_to(before) if before else None,
    }  # fmt: skip
    if link and seal_of(event) != link["blake3"]:
        event["replaces"] = link["blake3"]
    return event


def is_event(event: Event, artifact: str, number: int) -> bool:
    """Return whether a value is an event of that artifact and number."""
    try:
        check_event(event, artifact, number)
    except ValueError:
        return False
    return True


_LONG_AGO = "1970-01-01T00:00:00.000000Z"


def _event(body: bytes, artifact: str, number: int) -> Event | None:
    try:
        event: Event = parse(body, "")
    except Damaged:
        return None
    return event if is_event(event, artifact, number) else None


def _sealed(body: bytes) -> bytes:
    try:
        return seal(parse(body, ""))
    except Damaged:
        return b""


def _is_json(value: Json) -> bool:
    try:
        canonical(value)
    except (ValueError, RecursionError):
        return False
    return True


def _value_of(text: str, key: str) -> Json:
    start = text.find(f'"{key}":')
    if start < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start + len(key) + 3)[0]
    except (ValueError, RecursionError):
        return None
