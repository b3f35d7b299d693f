"""Finds the version that a reference names, and says what exists if there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.names import LATEST, Reference
from kept.store.log.history import VersionRecord, version_records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.log.log import View

_SHOWN = 10  # names in an error message


def matches(record: VersionRecord, wanted: Reference) -> bool:
    """Return whether a reference names this version."""
    if wanted.index is not None:
        return record.index == wanted.index
    if wanted.digest is not None:
        return record.digest.startswith(wanted.digest)
    return (wanted.alias or LATEST) in record.aliases


def not_found(view: View, wanted: Reference) -> str:
    """Return the error message for a version that the artifact lacks."""
    every = list(version_records(view.backwards()))[::-1]
    gone = [record for record in every if record.deleted and matches(record, wanted)]
    existing = [record for record in every if not record.deleted]
    selector = wanted.alias or wanted.digest or f"v{wanted.index}"
    if gone:
        return f"{wanted.name} has no {selector!r}: v{gone[-1].index} was deleted."
    if not existing:
        return f"{wanted.name} has no version: all {len(every)} were deleted."
    aliases = some(alias for record in reversed(existing) for alias in record.aliases)
    many = f"{len(existing)} versions, v{existing[0].index} to v{existing[-1].index}"
    found = many if len(existing) > 1 else f"one version, v{existing[0].index}"
    return f"{wanted.name} has no {selector!r}. It has {found}, and the aliases: {aliases}."


def no_artifact(name: str, location: str, names: Iterable[str]) -> str:
    """Return the error message for an artifact that the store lacks."""
    existing = some(names)
    found = f"Existing artifacts: {existing}." if existing else "The store is empty."
    return f"No artifact {name!r} in {location}. {found}"


def some(found: Iterable[str]) -> str:
    """Return the first few of the names as text, and how many there are in all."""
    all_names = list(found)
    more = f", … ({len(all_names)} in all)" if len(all_names) > _SHOWN else ""
    return ", ".join(all_names[:_SHOWN]) + more
