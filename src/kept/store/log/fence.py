"""Keeps a commit from using bytes that a gc is about to delete.

docs/format.md ("Deleting what no version needs") has the protocol and why it loses nothing. The
steps of the writer are here, those of the gc in gc/collector.py. No clock is part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kept.errors import KeyNotFound
from kept.store.encoding import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.bucket.base import Bucket
    from kept.store.log.log import Event, Log, View

T = TypeVar("T")

LISTS = "gc/"
PENDING = "new/"  # names of artifacts whose first record is not committed yet


@dataclass(frozen=True, slots=True)
class WriteFence:
    """A log at one moment, and the keys that gcs were about to delete just after it was read."""

    view: View
    condemned: frozenset[str]  # keys; a writer neither uses one nor stores anything under it

    def check(self, view: View) -> None:
        """Raise CommitConflict if a gc has run since: bytes that the writer reuses may be gone."""
        for event in view.backwards():
            if event["number"] <= self.view.head:
                return
            if is_fence(event):
                raise CommitConflict


class CommitConflict(Exception):
    """A gc has put its fence into the log; the writer has to build its commit again."""


def with_write_fence(log: Log, build: Callable[[WriteFence], T]) -> T:
    """Call build with a WriteFence and return its result; call it again after a CommitConflict.

    build stores what it needs and appends a record. Before each attempt to append it calls
    WriteFence.check.
    """
    view = log.view()
    is_new = not view.head
    if is_new:
        log.bucket.put(PENDING + log.name, [b""])
        view = log.view()
    while True:
        try:
            built = build(WriteFence(view, condemned(log.bucket)))
            break
        except CommitConflict:
            view = log.view()
    if is_new:  # only now, because other writers of a first record rely on it, too
        log.bucket.delete(PENDING + log.name)
    return built


def condemned(bucket: Bucket) -> frozenset[str]:
    """Return the keys that gcs are about to delete; raises Damaged."""
    return frozenset(key for name in bucket.keys(LISTS) for key in _read(bucket, name))


def is_fence(event: Event) -> bool:
    """Return whether an event says that a gc is about to delete."""
    return event["event"] == "alias" and "gc" in event


def _read(bucket: Bucket, name: str) -> list[str]:
    try:
        keys: list[str] = parse(bucket.get(name), name)["keys"]
    except KeyNotFound:  # that gc has just ended
        return []
    return keys
