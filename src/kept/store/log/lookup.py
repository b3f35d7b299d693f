"""Finds versions in the logs of a store, by reference or all, and says what exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import ArtifactNotFound, Damaged, KeptError, VersionNotFound
from kept.names import LATEST, Reference, is_automatic, suggestion
from kept.parallel import mapped
from kept.store.log.events import certain, refusal
from kept.store.log.history import VersionRecord, live, version_records
from kept.store.problems import Problem, warn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.log.events import Event, Fault
    from kept.store.log.log import Logs, View

_SHOWN = 10  # names in an error message
_MOST_READ = 100  # logs, for an error message


def view_of(logs: Logs, name: str, *, renamed: bool = True) -> View:
    """Return the log of an artifact as it is now; raises ArtifactNotFound.

    With renamed=False, also for the old name of a renamed artifact.
    """
    view = logs.of(name).view()
    if not view.has_version():
        names = _existing(logs)
        found = f"Existing artifacts: {some(names)}." if names else "The store is empty."
        close = _sentence(suggestion(name, names))
        raise ArtifactNotFound(f"No artifact {name!r} in {logs.bucket.location}. {close}{found}")
    if not renamed:
        _check_not_renamed(view)
    return view


def _existing(logs: Logs) -> list[str]:
    """Return the artifacts; of a small store in a folder, without those that were removed."""
    names = sorted(logs.names())
    if logs.bucket.is_remote or len(names) > _MOST_READ:
        return names  # the message of an error is not worth that many reads
    try:
        return sorted(with_live_versions(logs))
    except (KeptError, OSError):  # of another artifact
        return names


def records_of(view: View, *, deleted: bool = False) -> Iterator[VersionRecord]:
    """Yield the versions of a log, the newest first; with deleted, the deleted ones too.

    At the end a DamageWarning names each fault of the log.
    """
    faults: list[Fault] = []
    for record in version_records(view.facts(), faults):
        if deleted or not record.deleted:
            yield record
    warn(view.log.name, (fault.message for fault in faults))


def with_live_versions(logs: Logs) -> Iterator[str]:
    """Yield the artifacts that have a version that is not deleted, or that damage may hide."""
    return (name for name in logs.names() if has_live_version(logs, name))


def has_live_version(logs: Logs, name: str) -> bool:
    """Return whether an artifact has a version that is not deleted, or that damage may hide."""
    faults: list[Fault] = []
    return next(live(logs.once(name).view().facts(), faults), None) is not None or bool(faults)


def all_records(
    logs: Logs, name: str | None, *, deleted: bool = False
) -> list[tuple[str, list[VersionRecord]]]:
    """Return one artifact, or all, each with its versions, oldest first; see records_of."""
    if name is not None:
        return [(name, list(records_of(view_of(logs, name), deleted=deleted))[::-1])]
    found = []
    for n, records, faults in _all(logs):
        if records or faults:  # a gc puts its fence into other logs, too
            found.append((n, [r for r in reversed(records) if deleted or not r.deleted]))
            warn(n, (fault.message for fault in faults))
    return found


def faults_of(logs: Logs) -> list[Problem]:
    """Return what is wrong with the store as a whole, and the faults of all logs."""
    found = [Problem(logs.bucket.location, logs.problem)] if logs.problem else []
    return found + [Problem(n, fault.message) for n, _, faults in _all(logs) for fault in faults]


def _all(logs: Logs) -> Iterator[tuple[str, list[VersionRecord], list[Fault]]]:
    """Yield each name that has a log, its versions, newest first, and its faults.

    Several logs are read at a time if calls wait for a network.
    """

    def read(name: str) -> tuple[str, list[VersionRecord], list[Fault]]:
        faults: list[Fault] = []
        return name, list(version_records(logs.of(name).view().facts(), faults)), faults

    return mapped(read, list(logs.names()), logs.bucket.concurrency)


def matches(record: VersionRecord, wanted: Reference) -> bool:
    """Return whether a reference names this version."""
    if wanted.index is not None:
        return record.index == wanted.index
    if wanted.digest is not None:
        return record.digest.startswith(wanted.digest)
    return (wanted.alias or LATEST) in record.aliases


def find(view: View, wanted: Reference, *, deleted: bool = False) -> VersionRecord:
    """Return the version that a reference names; with deleted, also a deleted one.

    Raises VersionNotFound. Raises Damaged if a fault in the log leaves open which version it is: a
    newer record that cannot be read could be the newest version, or move the alias.
    """
    faults: list[Fault] = []
    for record in version_records(view.facts(), faults):
        is_newest = _selector(wanted) == LATEST and not record.deleted
        if (is_newest or matches(record, wanted)) and (deleted or not record.deleted):
            if record.is_uncertain and wanted.index is None and wanted.digest is None:
                raise Damaged(
                    f"Which version of {wanted.name} is {_selector(wanted)!r} is not certain: "
                    f"{refusal(faults)} As far as the log can be read, it is v{record.index}; name "
                    f"{wanted.name}:v{record.index} to use that."
                )
            return record
    if faults:
        raise Damaged(
            f"{wanted.name} has no {_selector(wanted)!r} that can be read: {refusal(faults)}"
        )
    _check_not_renamed(view)
    raise VersionNotFound(_not_found(view, wanted))


def _check_not_renamed(view: View) -> None:
    """Raise ArtifactNotFound for the old name of a renamed artifact."""
    if new_name := moved_to(view):
        raise ArtifactNotFound(f"{view.log.name} was renamed: its versions are in {new_name} now.")


def removal_of(view: View) -> Event | None:
    """Return the newest event that removed a whole artifact, None if there is none.

    Raises Damaged. The artifact can have versions again since.
    """
    return next((e for e in certain(view.facts()) if e["event"] == "remove"), None)


def new_name_of(view: View, index: int) -> str | None:
    """Return the artifact that has a version since a rename; None for a version that was deleted.

    Raises Damaged.
    """
    for event in certain(view.facts()):
        is_about = event["event"] in ("delete", "remove", "undelete", "restore")
        if is_about and index in event.get("indexes", (event.get("index"),)):
            return event.get("moved_to")
    return None


def moved_to(view: View) -> str | None:
    """Return the new name of an artifact that was renamed and has no version since; else None."""
    if next(live(view.facts()), None) is not None:
        return None
    removal = removal_of(view) or {}
    return removal.get("moved_to")


def _selector(wanted: Reference) -> str:
    if wanted.index is not None:
        return f"v{wanted.index}"
    return wanted.alias or wanted.digest or LATEST


def _not_found(view: View, wanted: Reference) -> str:
    """Return the error message for a version that the artifact lacks."""
    every = list(version_records(view.facts()))[::-1]
    gone = [record for record in every if record.deleted and matches(record, wanted)]
    existing = [record for record in every if not record.deleted]
    selector = _selector(wanted)
    if gone:
        return f"{wanted.name} has no {selector!r}: v{gone[-1].index} was deleted."
    if not existing:
        undo = f" To restore it: kept undelete --artifact {wanted.name}" if removal_of(view) else ""
        return f"{wanted.name} has no version: all {len(every)} were deleted.{undo}"
    aliases = [alias for record in reversed(existing) for alias in record.aliases]
    aliases.sort(key=is_automatic)  # what a person has put comes before epoch_…
    close = _sentence(_close(selector, aliases, existing))
    many = f"{len(existing)} versions, v{existing[0].index} to v{existing[-1].index}"
    found = many if len(existing) > 1 else f"one version, v{existing[0].index}"
    return (
        f"{wanted.name} has no {selector!r}. {close}It has {found}, and the aliases: "
        f"{some(aliases)}."
    )


def _close(selector: str, aliases: list[str], existing: list[VersionRecord]) -> str:
    """Return a question for the version that was probably meant, or nothing."""
    number = f"v{selector.lower().removeprefix('v')}"  # of 3 or V3
    if any(number == f"v{record.index}" for record in existing):
        return f". Did you mean {number!r}?"
    return "" if is_automatic(selector) else suggestion(selector, aliases)


def _sentence(question: str) -> str:
    """Return a suggestion as a sentence before others."""
    return question.removeprefix(". ") + " " if question else ""


def some(found: Iterable[str]) -> str:
    """Return the first few of the names as text, and how many there are in all."""
    all_names = list(found)
    more = f", … ({len(all_names)} in all)" if len(all_names) > _SHOWN else ""
    return ", ".join(all_names[:_SHOWN]) + more
