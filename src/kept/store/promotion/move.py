"""Moves aliases: by hand, by a promotion under a condition, and back to where they were.

Each decision is made on the log after which its record is put. So of two writers the second one
decides again, and `was` is the version that loses the alias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.errors import ConditionNotMet, InvalidInput, InvalidReference, VersionNotFound
from kept.names import LATEST, Reference, check_alias, check_own_alias, parse_reference
from kept.store.log.events import certain
from kept.store.log.history import live
from kept.store.log.lookup import find, view_of
from kept.store.origin.actor import actor
from kept.store.promotion.protected import refuse_protected
from kept.store.promotion.stack import earlier_holders

if TYPE_CHECKING:
    from kept.store.condition.nodes import Condition
    from kept.store.log.events import Event
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Log, Logs, View


class Moved(NamedTuple):
    """What became of an alias."""

    record: VersionRecord  # that has it now; of a removed alias, the one that had it
    was: int | None = None  # the version that had it before
    skipped: tuple[int, ...] = ()  # versions that had it in between, and are deleted


class Terms(NamedTuple):
    """Under which terms a version is promoted."""

    condition: Condition | None = None
    from_alias: str | None = None
    message: str | None = None

    def as_json(self) -> dict[str, str]:
        """Return the terms for the record."""
        texts = {
            "if": self.condition.text if self.condition else None,
            "from": self.from_alias,
            "message": self.message,
        }
        return {key: text for key, text in texts.items() if text is not None}


def promotion_of(
    reference: str,
    alias: str,
    condition: str | None,
    from_alias: str | None,
    message: str | None,
) -> tuple[Reference, Terms]:
    """Return which version to promote, and the terms, checked; see Store.promote.

    Raises InvalidReference, InvalidCondition, InvalidName or InvalidInput.
    """
    from kept.store.condition.parse import parse

    wanted = parse_reference(reference)
    check_own_alias(alias)
    if message is not None and not isinstance(message, str):
        raise InvalidInput(f"message is a text. Received: message={message!r}")
    if from_alias is not None and from_alias != LATEST:
        check_alias(from_alias)
    if from_alias is not None and reference == wanted.name:
        wanted = Reference(wanted.name, alias=None if from_alias == LATEST else from_alias)
    parsed = parse(condition) if condition is not None else None
    return wanted, Terms(parsed, from_alias, message)


def alias_in(reference: str) -> Reference:
    """Return a reference NAME:ALIAS to an alias that people move; raises InvalidReference."""
    wanted = parse_reference(reference)
    if wanted.alias is None:
        raise InvalidReference(
            f"A rollback needs an alias, written as NAME:ALIAS. Received: {reference!r}"
        )
    check_own_alias(wanted.alias)
    return wanted


def set_alias(logs: Logs, wanted: Reference, alias: str) -> Moved:
    """Put an alias on a version; raises AliasProtected, NotFound or Damaged."""
    view = view_of(logs, wanted.name)
    for now in view.log.views(view):
        record = find(now, wanted)
        refuse_protected(logs.bucket, [alias], f"{wanted.name}:v{record.index}")
        moved = Moved(record, holder_of(now, alias))
        if view.log.append_after(now, _move(alias, record.index)):
            return moved
    raise AssertionError("views has no end")


def remove_alias(logs: Logs, wanted: Reference) -> Moved:
    """Take an alias from the version that has it; raises AliasProtected, NotFound or Damaged."""
    alias = str(wanted.alias)
    view = view_of(logs, wanted.name)
    for now in view.log.views(view):
        record = find(now, wanted)
        refuse_protected(logs.bucket, [alias], None)
        if view.log.append_after(now, _move(alias, None)):
            return Moved(record, record.index)
    raise AssertionError("views has no end")


def promote(logs: Logs, wanted: Reference, alias: str, terms: Terms) -> Moved:
    """Put an alias on a version, protected or not, if the version fulfils the terms.

    Raises ConditionNotMet, NotFound or Damaged; then the alias stays where it is.
    """
    view = view_of(logs, wanted.name)
    for now in view.log.views(view):
        record = find(now, wanted)
        was = holder_of(now, alias)
        check_terms(now, record, terms, f"{alias} {_stays(now.log, was)}")
        promotion = {"action": "promote", "was": was} | terms.as_json()
        if view.log.append_after(now, _move(alias, record.index) | {"promotion": promotion}):
            return Moved(record, was)
    raise AssertionError("views has no end")


def rollback(logs: Logs, wanted: Reference, message: str | None) -> Moved:
    """Put an alias back on the version that had it before; deleted versions are passed over.

    A rollback takes back one move. So the next one goes one move further back. Raises
    VersionNotFound if no earlier version is left, ArtifactNotFound or Damaged.
    """
    alias = str(wanted.alias)
    view = view_of(logs, wanted.name)
    for now in view.log.views(view):
        was = holder_of(now, alias)
        moved = move_back(now, alias, was)
        promotion = {"action": "rollback", "was": was} | Terms(message=message).as_json()
        if view.log.append_after(now, _move(alias, moved.record.index) | {"promotion": promotion}):
            return moved
    raise AssertionError("views has no end")


def holder_of(view: View, alias: str) -> int | None:
    """Return the version that has an alias, None if none has it."""
    found = (r.index for r in live(view.facts(), faults=[]) if alias in r.aliases)
    return next(found, None)


def _move(alias: str, index: int | None) -> Event:
    return {"event": "alias", "aliases": {alias: index}, "by": actor()}


def move_back(view: View, alias: str, was: int | None) -> Moved:
    """Return the move that a rollback makes; raises VersionNotFound or Damaged."""
    events = list(certain(view.facts()))
    existing = {record.index: record for record in live(events)}
    skipped: list[int] = []
    for index in earlier_holders(reversed(events), alias, was):
        if index in existing:
            return Moved(existing[index], was, tuple(skipped))
        skipped.append(index)
    name = view.log.name
    if not skipped and was is None:
        raise VersionNotFound(f"No version of {name} has ever had the alias {alias!r}.")
    gone = ", ".join(f"{name}:v{index}" for index in skipped)
    had = f" The versions that had it before are deleted: {gone}." if gone else ""
    raise VersionNotFound(
        f"There is no earlier version to roll {name}:{alias} back to; {alias} "
        f"{_stays(view.log, was)}.{had} To choose one: kept promote {name}:vN {alias}"
    )


def check_terms(view: View, record: VersionRecord, terms: Terms, stays: str) -> None:
    """Raise ConditionNotMet unless a version fulfils the terms."""
    reference = f"{view.log.name}:v{record.index}"
    if terms.from_alias is not None and terms.from_alias not in record.aliases:
        own = ", ".join(record.aliases) or "none"
        raise ConditionNotMet(
            f"{reference} does not have the alias {terms.from_alias}, so {stays}. Found the "
            f"aliases: {own}."
        )
    if terms.condition is not None:
        from kept.store.condition.fields import values_of
        from kept.store.origin.origin import provenance_of

        values = values_of(view.log.name, record, provenance_of(view, record))
        verdict = terms.condition.verdict(values)
        if not verdict:
            read = terms.condition.found(values).items()
            found = ", ".join(f"no {n}" if v is None else f"{n} = {v!r}" for n, v in read)
            open_ = "" if verdict is False else " A value that is missing or NaN fulfils nothing."
            raise ConditionNotMet(
                f"{reference} does not fulfil {terms.condition.text!r}, so {stays}. Found: {found}."
                f"{open_}"
            )


def _stays(log: Log, index: int | None) -> str:
    return "stays on no version" if index is None else f"stays on {log.name}:v{index}"
