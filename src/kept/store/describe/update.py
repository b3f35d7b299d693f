"""Changes what people say of a version: description, tags, metadata and notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.errors import InvalidInput, InvalidMetadata
from kept.store.describe.log_metrics import check_label, living
from kept.store.metadata import check_metadata
from kept.store.origin.actor import actor

if TYPE_CHECKING:
    from kept.store.encoding import Json
    from kept.store.log.events import Event
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Log

_MEASURED = ("metrics", "monitor", "mode", "value")  # the alias best and Keep compare these


class Update(NamedTuple):
    """Valid changes of a version."""

    description: str | None  # None for no change, empty to remove it
    tags: dict[str, bool]  # whether the version has each tag
    metadata: dict[str, Json]
    note: str | None

    @classmethod
    def of(
        cls,
        description: str | None = None,
        tags: Iterable[str] = (),
        remove_tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        note: str | None = None,
    ) -> Update:
        """Check the changes; raises InvalidInput, or InvalidMetadata."""
        added, removed = _tags(tags, "tags"), _tags(remove_tags, "remove_tags")
        if both := sorted(added & removed):
            raise InvalidInput(f"A tag is added or removed, not both. Received: {both}")
        for name, text in (("description", description), ("note", note)):
            _check_text(name, text)
        values = check_metadata(metadata)
        if measured := [key for key in _MEASURED if key in values]:
            raise InvalidMetadata(
                f"{measured[0]} was measured at the save, and cannot be set later. Use "
                f"log_metrics, or `kept metric`, for new values. Received: {sorted(values)}"
            )
        found = cls(
            description, dict.fromkeys(added, True) | dict.fromkeys(removed, False), values, note
        )
        if found == cls(None, {}, {}, None):
            raise InvalidInput(
                "Nothing to change. Pass description, tags, remove_tags, metadata or note."
            )
        return found

    def event(self, record: VersionRecord) -> Event:
        """Return the part of an event that changes a version; empty if it changes nothing."""
        before = record.changes
        event: Event = {}
        if self.description is not None and (self.description or None) != before.description:
            event["description"] = self.description or None
        tags = {tag: has for tag, has in self.tags.items() if has != (tag in before.tags)}
        values = {
            key: value
            for key, value in self.metadata.items()
            if key not in record.described or record.described[key] != value
        }
        event |= {key: new for key, new in (("tags", tags), ("set", values)) if new}
        return event if self.note is None else event | {"note": self.note}


def update(log: Log, index: int, changes: Update) -> VersionRecord:
    """Log the changes of a version, unless it has all of them already; return it with them.

    Raises VersionNotFound for a deleted version.
    """
    for view in log.views():
        record = living(view, index)
        event = changes.event(record)
        if not event:
            return record
        event |= {"event": "update", "index": index, "by": actor()}
        if (recorded := log.append_after(view, event)) is not None:
            return record._replace(changes=record.changes.after(recorded))
    raise AssertionError("views has no end")


def _tags(tags: Iterable[str], what: str) -> set[str]:
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise InvalidInput(f"{what} is a list of texts. Received: {tags!r}")
    return {check_label(tag, "A tag is a text") for tag in tags}


def _check_text(name: str, text: Any) -> None:
    if text is None:
        return
    if not isinstance(text, str):
        raise InvalidInput(f"{name} is a text. Received: {text!r}")
    if name == "note" and not text.strip():
        raise InvalidInput(f"A note is a text that is not empty. Received: {text!r}")
    check_metadata({name: text})
