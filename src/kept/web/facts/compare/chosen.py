"""Which versions an address compares: v=m:v3&v=m:best."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.errors import InvalidReference, KeptError
from kept.names import parse_reference
from kept.store.log.lookup import matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.log.history import VersionRecord
    from kept.web.reading.reader import Reader

MOST = 5
_MOST_TEXTS = 20
_LONGEST = 200  # characters of a reference in a message


class Entry(NamedTuple):
    """A version in the comparison."""

    name: str
    record: VersionRecord
    text: str  # as the address names it

    @property
    def reference(self) -> str:
        """The text that always names the version."""
        return f"{self.name}:v{self.record.index}"


class Chosen(NamedTuple):
    """The versions of a comparison, in their order."""

    entries: list[Entry]
    problems: list[str]  # why others are left out

    @property
    def references(self) -> list[str]:
        """The versions by their numbers."""
        return [entry.reference for entry in self.entries]

    @property
    def is_one_artifact(self) -> bool:
        """Whether all versions are of one artifact."""
        return len({entry.name for entry in self.entries}) < 2

    def label(self, entry: Entry) -> str:
        """Return what names a version among these: v3, or m:v3 if there are several artifacts."""
        return f"v{entry.record.index}" if self.is_one_artifact else entry.reference


def chosen(reader: Reader, texts: Sequence[str]) -> Chosen:
    """Return the versions that texts name, each once; those that cannot be shown are problems."""
    entries: dict[tuple[str, int], Entry] = {}
    problems: list[str] = []
    wanted = [text.strip() for text in texts if text.strip()]
    for text in wanted[:_MOST_TEXTS]:
        found = _entry(reader, text)
        if isinstance(found, str):
            problems.append(found)
            continue
        key = found.name, found.record.index
        if key in entries:
            problems.append(f"{text} is left out: {found.reference} is compared already.")
        elif len(entries) == MOST:
            problems.append(
                f"{found.reference} is left out: up to {MOST} versions can be compared. "
                "Remove one of the others first."
            )
        else:
            entries[key] = found
    if len(wanted) > _MOST_TEXTS:
        problems.append(f"{len(wanted) - _MOST_TEXTS} more references are left out.")
    return Chosen(list(entries.values()), problems)


def _entry(reader: Reader, text: str) -> Entry | str:
    """Return the version that a text names, or why it cannot be shown."""
    try:
        wanted = parse_reference(text)
    except InvalidReference:
        return (
            f"{text[:_LONGEST]!r} names no version. A version is NAME:v3, NAME:best or NAME, "
            "which means the newest one."
        )
    try:
        versions = reader.versions(wanted.name)
        found = next((r for r in versions.records if matches(r, wanted) and not r.deleted), None)
        if found is not None:
            return Entry(wanted.name, found, text)
        reader.store.version(text)  # raises the error that says what exists
    except (KeptError, OSError) as error:
        gone = " To compare it, undelete it first." if _is_deleted(reader, text) else ""
        return f"{text} is left out: {error}{gone}"
    return f"{text} is left out: it has just changed. Load the page again."


def _is_deleted(reader: Reader, text: str) -> bool:
    try:
        wanted = parse_reference(text)
        records = reader.versions(wanted.name).records
    except (KeptError, OSError):
        return False
    return wanted.index is not None and any(r.deleted and matches(r, wanted) for r in records)
