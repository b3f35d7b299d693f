"""Removes whole artifacts: one record each, so a killed removal continues where it stopped.

First a plan names every artifact, and why others stay. Then each one is decided again, by its log
at that moment: a version or an alias that came meanwhile counts.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kept.errors import AliasProtected, ArtifactNotFound, Damaged, KeptError, VersionInUse
from kept.names import check_name
from kept.parallel import mapped
from kept.store.log.history import live
from kept.store.log.log import Log
from kept.store.log.lookup import some, view_of
from kept.store.log.overview import known_now, remember, summaries
from kept.store.origin.actor import actor
from kept.store.promotion.protected import protected_among
from kept.store.whole.rules import Stay, own_aliases, protected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kept.bucket.transfer import Progress
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Logs
    from kept.store.log.overview import Known, Summary
    from kept.store.whole.rules import Rules

_AT_ONCE = 8  # artifacts; each one waits for the disk or the server
ALREADY = "removed already"


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal does with one artifact, or has done."""

    name: str
    versions: int  # that exist, or were removed
    newest: str | None  # when the newest of them was committed
    aliases: tuple[str, ...]  # that a person has put on them
    stays: str | None = None  # why the artifact is not removed; None if it is
    error: type[KeptError] | None = None  # of a call that names the artifact


def is_pattern(name: str) -> bool:
    """Return whether a text is a pattern for names of artifacts, such as run_*."""
    return any(sign in name for sign in "*?[")


def plan(logs: Logs, wanted: Sequence[str], rules: Rules) -> list[Removal]:
    """Decide for each artifact that a name or a pattern names, in the order of the names.

    Raises ArtifactNotFound for a name or a pattern without an artifact. Artifacts that are removed
    already are left out, unless they are named.
    """
    exact = {check_name(name) for name in wanted if not is_pattern(name)}
    matching = _matching(logs, wanted)
    found = dict(summaries(logs, sorted(exact | matching)))
    for name in sorted(exact - found.keys()):
        view_of(logs, name)  # raises ArtifactNotFound
    if not found:
        raise ArtifactNotFound(
            f"No artifact in {logs.bucket.location} matches {', '.join(wanted)}. Existing "
            f"artifacts: {some(logs.names())}."
        )
    planned = (_planned(name, summary, rules) for name, summary in found.items())
    return [
        each if each.name in exact else _skipped(each)
        for each in planned
        if each.name in exact or each.stays != ALREADY
    ]


def _skipped(planned: Removal) -> Removal:
    """Return the plan for an artifact that only a pattern names: protection or damage skips it."""
    if planned.error in (AliasProtected, Damaged):
        return replace(planned, error=None)
    return planned


def _matching(logs: Logs, wanted: Sequence[str]) -> set[str]:
    patterns = [name for name in wanted if is_pattern(name)]
    names = list(logs.names()) if patterns else []
    return {n for pattern in patterns for n in fnmatch.filter(names, pattern)}


def _planned(name: str, found: Summary, rules: Rules) -> Removal:
    own = own_aliases(alias for alias, _ in found.aliases)
    stay = rules.stay(found.created_at, own) if found.created_at else Stay(ALREADY)
    if found.type is None:
        stay = Stay("no version can be read: run kept repair", Damaged)
    return Removal(name, found.versions, found.created_at, tuple(own), *(stay or ()))


def check(planned: Iterable[Removal]) -> None:
    """Raise VersionInUse, AliasProtected or Damaged if an artifact is in the way of the plan."""
    refused = [each for each in planned if each.error is not None]
    if not refused:
        return
    error = refused[0].error or KeptError
    named = some(f"{each.name} ({each.stays})" for each in refused)
    advice = {
        VersionInUse: " To remove them with their aliases: --force (force=True). To skip them: "
        "--keep-aliased (keep_aliased=True).",
        AliasProtected: " Nothing removes a version with a protected alias. To end the protection: "
        "kept protect --remove ALIAS",
    }
    raise error(f"Nothing is removed, because of {named}.{advice.get(error, '')}")


def remove_all(
    logs: Logs, planned: Sequence[Removal], rules: Rules, progress: Progress | None = None
) -> list[Removal]:
    """Remove the artifacts that do not stay; return what was done with each one of the plan.

    progress is called with the artifacts done and in all, from this thread. A damaged log stops no
    other removal; any other error does, and a further call continues.
    """
    doomed = [each for each in planned if each.stays is None]
    done: dict[str, Removal] = {}
    known: dict[str, Known] = {}
    at_once = max(_AT_ONCE, logs.bucket.concurrency)
    try:
        for removal, now in mapped(lambda each: _removed(logs, each, rules), doomed, at_once):
            done[removal.name] = removal
            if now is not None:
                known[removal.name] = now
            if progress:
                progress(len(done), len(doomed))
    finally:
        remember(logs, known)
    return [done.get(each.name, each) for each in planned]


def _removed(logs: Logs, planned: Removal, rules: Rules) -> tuple[Removal, Known | None]:
    log = Log(logs, planned.name)  # of its own: thousands of logs would not fit into memory
    try:
        removal = remove(log, rules)
    except Damaged as error:
        return replace(planned, stays=str(error), error=Damaged), None
    return removal, known_now(log) if removal.stays is None else None


def remove(log: Log, rules: Rules) -> Removal:
    """Remove an artifact unless a rule lets it stay; return what was done. Raises Damaged."""
    with log.bucket.spending_reserve():  # a record frees no room, but the gc after it does
        for view in log.views():
            found = list(live(view.facts()))
            removal = _unless_protected(log, _removal(log.name, found, rules))
            if removal.stays is not None:
                return removal
            indexes = [record.index for record in reversed(found)]
            event = {"event": "remove", "indexes": indexes, "by": actor()}
            if log.append_after(view, event):
                return removal
    raise AssertionError("views has no end")


def _unless_protected(log: Log, removal: Removal) -> Removal:
    """Return a removal that stays if one of its aliases has been protected since it was planned."""
    aliases = removal.aliases if removal.stays is None else ()
    if guarded := protected_among(log.bucket, aliases):
        return replace(removal, stays=protected(guarded), error=AliasProtected)
    return removal


def _removal(name: str, newest_first: list[VersionRecord], rules: Rules) -> Removal:
    if not newest_first:
        return Removal(name, 0, None, (), ALREADY)
    own = own_aliases(alias for record in newest_first for alias in record.aliases)
    newest = newest_first[0].created_at
    return Removal(name, len(newest_first), newest, tuple(own), *(rules.stay(newest, own) or ()))
