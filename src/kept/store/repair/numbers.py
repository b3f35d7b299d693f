"""Plans what makes the numbers of versions right again, once every record of a log can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.digest import digest
from kept.store.encoding import seal
from kept.store.log.events import Fault, Wrong, seal_of
from kept.store.log.history import version_records
from kept.store.problems import Problem
from kept.store.repair.plan import Append, Write
from kept.store.repair.salvage import substitute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.log.events import Event
    from kept.store.log.log import Log
    from kept.store.repair.plan import Plan

_FACTS = ("event", "type", "manifest", "digest", "size", "metadata")
_MOST = 1000  # versions in no record that are marked; more of them are no accident


def plan_numbers(log: Log, events: Sequence[Event], plan: Plan) -> None:
    """Give a version that shares its number with a later one a new number, and mark lost numbers.

    The content is appended first, so that a repair that is cut off in between loses nothing.
    """
    by_number = {event["number"]: event for event in events}
    faults: list[Fault] = []
    list(version_records(reversed(events), faults))
    for fault in faults:
        event = by_number[fault.number]
        if fault.wrong is not Wrong.REPEATED:
            continue
        if not event.get("deleted"):
            again = {key: event[key] for key in _FACTS} | {"aliases": []}
            again["write_id"] = digest(seal_of(event).encode())[:32]
            plan.steps.append(Append(log.name, again, f"the content of record {fault.number}"))
        after = by_number.get(fault.number + 1, {})
        before = by_number.get(fault.number - 1)
        mark = substitute({}, log.name, fault.number, before, after.get("previous"))
        if after.get("previous"):
            mark["replaces"] = after["previous"]["blake3"]
        why = f"v{event['index']} is the number of a later version, too"
        plan.steps.append(Write(log.records.key(fault.number), seal(mark), why))
    _mark_lost(log.name, events, plan)


def _mark_lost(name: str, events: Sequence[Event], plan: Plan) -> None:
    present = {event["index"] for event in events if event["event"] == "version"}
    marked = {index for event in events for index in event.get("lost", ())}
    newest = max(present, default=-1)
    if newest + 1 - len(present | marked) > _MOST:
        plan.lost.append(Problem(name, f"most versions before v{newest} are in no record"))
        return
    lost = sorted({*range(newest)} - present - marked)
    if lost:
        mark: Event = {"event": "alias", "aliases": {}, "lost": lost}
        mark["write_id"] = digest(f"{name} lost {lost}".encode())[:32]
        names = ", ".join(f"v{index}" for index in lost)
        plan.steps.append(Append(name, mark, f"marks as lost: {names}, in no record"))
        plan.lost.append(Problem(name, f"{names}: in no record"))
