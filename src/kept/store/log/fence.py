"""What a writer may build upon while a collector deletes what no version needs.

docs/format.md ("Deleting what no version needs") has the protocol and why it loses nothing; the
steps of the writer are here, those of the collector in gc.py. No clock is part of it.
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
PENDING = "new/"  # names of artifacts whose first record is being made


@dataclass(frozen=True, slots=True)
class WriteFence:
    """A log as it was, and what collectors were about to delete when it had been read."""

    view: View
    condemned: frozenset[str]  # keys; neither build upon one nor store anything under it

    def check(self, view: View) -> None:
        """Raise CommitConflict if a gc has run meanwhile: what the writer reuses may be gone."""
        for event in view.backwards():
            if event["number"] <= self.view.head:
                return
            if is_fence(event):
                raise CommitConflict


class CommitConflict(Exception):
    """A collector has put its fence into the log; what is to be committed must be built again."""


def with_write_fence(bucket: Bucket, name: str, log: Log, build: Callable[[WriteFence], T]) -> T:
    """Return what build makes of a WriteFence; it is called again when it raises CommitConflict.

    The log is that of the artifact name. build stores what it needs and appends a record, whose
    maker calls WriteFence.check first.
    """
    view = log.view()
    is_new = not view.head
    if is_new:
        bucket.put(PENDING + name, [b""])
        view = log.view()
    while True:
        try:
            built = build(WriteFence(view, condemned(bucket)))
            break
        except CommitConflict:
            view = log.view()
    if is_new:  # not before: others that are at the first record rely on it, too
        bucket.delete(PENDING + name)
    return built


def condemned(bucket: Bucket) -> frozenset[str]:
    """Return the keys that collectors are about to delete; raises Damaged."""
    return frozenset(key for name in bucket.keys(LISTS) for key in _read(bucket, name))


def is_fence(event: Event) -> bool:
    """Return whether an event says that a collector is about to delete."""
    return event["event"] == "alias" and "gc" in event


def _read(bucket: Bucket, name: str) -> list[str]:
    try:
        keys: list[str] = parse(bucket.get(name), name)["keys"]
    except KeyNotFound:  # that collector has just ended
        return []
    return keys
