"""Resolves a divergence: two stores hold different versions of an artifact under one number.

One history stays under the artifact's name in both stores. The other one gets another name in its
own store. No version is deleted: first all events are copied to the other name, without moving a
byte. Only then the log is cut back to the last record before the stores diverged.

It cuts from the newest record backwards, so after a kill the log is whole, only shorter, and the
next call continues. A writer that has read a record that is cut stops with StoreReplaced.
"""

from __future__ import annotations

import itertools
import shlex
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import AliasProtected, BeingCollected, InvalidInput, StoreError
from kept.names import check_name
from kept.store.log.fence import lists
from kept.store.log.history import live
from kept.store.promotion.protected import protected_among
from kept.store.receipts import Receipts, readable_receipts
from kept.store.store import Store
from kept.sync.mirror.replicate import Sync

if TYPE_CHECKING:
    from kept.store.log.events import Event


def rename_history(loser: Store, winner: Store, name: str, aside: str | None = None) -> str | None:
    """Rename the loser's history of an artifact, so that it can follow the winner's again.

    Return the new name in the loser's store: aside, or the first free one of name-2, name-3, …
    Return None if the stores have not diverged. The caller then copies the winner's history.

    No other process may write to the artifact in the loser's store meanwhile. Raises Damaged,
    InvalidInput (another artifact has the name), BeingCollected (a gc runs there), or
    AliasProtected: the loser protects an alias that the winner has on another version.
    """
    events, others = _events(loser, name), _events(winner, name)
    fork = _fork(events, others)
    if fork is None:
        return None
    _check_protected(loser, winner, name, (events, others))
    new_name = _name_for(loser, name, events, aside)
    Sync(loser, loser, name, new_name).run()
    copied = {event["write_id"] for event in _events(loser, new_name)}
    now = [event["write_id"] for event in _events(loser, name)]
    if len(now) != len(events) or not copied.issuperset(now):
        raise StoreError(
            f"Another process writes to {name} in {loser.location}. End it, and try again."
        )
    if lists(loser.bucket):
        raise BeingCollected(
            f"A gc runs in {loser.location}, or was killed. Wait for it, or run kept gc there."
        )
    _cut(loser, name, fork, events)
    return new_name


def _events(store: Store, name: str) -> list[Event]:
    """Return the events of an artifact, oldest first; raises Damaged."""
    view = Store(store.bucket).log(name).view()
    view.check()
    return list(view.backwards())[::-1]


def _fork(events: list[Event], others: list[Event]) -> int | None:
    """Return the last record before the first own version, None if only one side has own ones."""
    ids, other_ids = ({e["write_id"] for e in found} for found in (events, others))
    own = [e for e in events if e["event"] == "version" and e["write_id"] not in other_ids]
    if not own or all(e["write_id"] in ids for e in others if e["event"] == "version"):
        return None
    return int(own[0]["number"]) - 1


def _check_protected(
    loser: Store, winner: Store, name: str, both: tuple[list[Event], list[Event]]
) -> None:
    """Raise AliasProtected if the loser protects an alias that would be on another version then."""
    own, other = map(_holders, both)
    for alias in protected_among(loser.bucket, own):
        if own[alias] != other.get(alias):
            here, there = own[alias], other.get(alias)
            place = f"on v{there.version}" if there else "on no version"
            keep = shlex.join(["kept", "--store", loser.location, "protect", "--remove", alias])
            raise AliasProtected(
                f"{name}:{alias} is on v{here.version} in {loser.location}, which protects it, and "
                f"{place} in {winner.location}. To continue with the history of that store, end "
                f"the protection: {keep}. Or keep the other history (--ours, --theirs)."
            )


def _holders(events: list[Event]) -> dict[str, _Holder]:
    """Return the version of each alias."""
    ids = {e["index"]: e["write_id"] for e in events if e["event"] == "version"}
    return {
        alias: _Holder(record.index, ids[record.index])
        for record in live(reversed(events))
        for alias in record.aliases
    }


class _Holder(NamedTuple):
    """A version that has an alias, the same in both stores if the write_id is."""

    version: int
    write_id: str


def _name_for(store: Store, name: str, events: list[Event], wanted: str | None) -> str:
    """Return a name that is free, or has the same history from an interrupted call."""
    if wanted is None:
        names = (f"{name}-{n}" for n in itertools.count(2))
        return next(each for each in names if _is_free(store, each, events))
    if check_name(wanted) == name or not _is_free(store, wanted, events):
        raise InvalidInput(
            f"{store.location} has another artifact of that name. Pass a free name. "
            f"Received: {wanted!r}"
        )
    return wanted


def _is_free(store: Store, name: str, events: list[Event]) -> bool:
    versions, existing = _versions(events), _versions(_events(store, name))
    return all(one == other for one, other in zip(versions, existing, strict=False))


def _versions(events: list[Event]) -> list[str]:
    return [event["write_id"] for event in events if event["event"] == "version"]


def _cut(store: Store, name: str, fork: int, events: list[Event]) -> None:
    """Remove the records after the fork, the newest first; all that they say is copied."""
    log = Store(store.bucket).log(name)
    version = max((e["index"] for e in events[:fork] if e["event"] == "version"), default=-1)
    for receipt in list(readable_receipts(store.bucket)):  # its mirrors have what is cut, too
        if receipt.artifact == name and receipt.record > fork:
            Receipts(store.bucket, receipt.destination).confirm(name, fork, version)
    for number in log.pages.numbers():  # a reader believes a page without its last record
        if number > fork:
            store.bucket.delete(log.pages.key(number))
    log.pages.folded.remove(after=fork)
    for event in reversed(events[fork:]):
        store.bucket.delete(log.records.key(event["number"]))
    if left := log.records.numbers(fork):
        raise StoreError(
            f"Another process has written record {left[0]} of {name} in {store.location} "
            "meanwhile. End it, run kept repair there, and try again."
        )
