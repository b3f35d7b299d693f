"""Keeps a commit from using bytes that a gc is about to delete.

docs/format.md ("Deleting what no version needs") has the protocol and why it loses nothing. The
steps of the writer are here, those of the gc in gc/collector.py. No clock is part of it.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kept.digest import digest
from kept.errors import Damaged, KeptError, KeyNotFound, StoreError
from kept.store.encoding import MOST_VALUE, Json, again_if_damaged, canonical, parse, read_bounded
from kept.store.log.events import is_fence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kept.bucket.base import Bucket
    from kept.store.log.log import Log, View

T = TypeVar("T")

LISTS = "gc/"
_LIST = re.compile(r"gc/(?!damaged-|round-)[A-Za-z0-9][A-Za-z0-9_-]*\.json")
_MARKER = re.compile(r"gc/damaged-([0-9a-f]{64})\.json")  # the blob with this digest is damaged
_ROUND = re.compile(r"gc/round-([0-9]{20})\.json")  # of gcs that put no fences into other logs
_LOOKS = 4  # for a list that is listed and not found
_PAUSE = 0.1  # seconds after the first look; doubles
_ASKED = 2  # of the newest fences of a log, whose lists a writer asks for; gcs seldom overlap
PENDING = "new/"  # names of artifacts whose first record is not committed yet


@dataclass(frozen=True, slots=True)
class WriteFence:
    """A log at one moment, and the keys that gcs were about to delete just after it was read."""

    view: View
    condemned: frozenset[str]  # keys; a writer neither uses one nor stores anything under it
    damaged: frozenset[str] = frozenset()  # blobs; a writer uses one only if it finds it in place
    gcs: frozenset[str] = frozenset()  # keys of the lists and rounds at that moment

    def check(self, view: View) -> None:
        """Raise CommitConflict if a gc has run since: bytes that the writer reuses may be gone.

        Callers have stored the manifest before, durably: so a gc that begins later sees it. Raises
        Damaged if the log has a fault.
        """
        if not self.gcs.issuperset(key for key in _below_lists(view) if _is_gc(key)):
            raise CommitConflict  # a gc of another artifact puts no fence into this log
        view.check()
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
    WriteFence.check. Raises Damaged, before it calls build, if the log has a fault.
    """
    view = log.view()
    view.check()
    is_new = not view.head
    if is_new:
        log.logs.check_identity()  # a store that was emptied gets no key from here
        log.bucket.put(PENDING + log.name, [b""])
        view = log.view()
    while True:
        try:
            built = build(_fence(view))
            break
        except CommitConflict:
            view = log.view()
    if is_new:  # only now, because other writers of a first record rely on it, too
        with contextlib.suppress(KeptError, OSError):  # the commit stands; a gc removes it later
            log.bucket.delete(PENDING + log.name)
    return built


def condemned(bucket: Bucket) -> frozenset[str]:
    """Return the keys that gcs are about to delete; raises Damaged."""
    return _listed_in(bucket, bucket.keys(LISTS))


def _listed_in(bucket: Bucket, keys: Iterable[str]) -> frozenset[str]:
    names = filter(_LIST.fullmatch, keys)
    return frozenset(key for name in names for key in read_list(bucket, name))


def _fence(view: View) -> WriteFence:
    bucket = view.log.bucket
    listed = _below_lists(view)
    damaged = frozenset(blob for blob in map(marked_blob, listed) if blob)
    unlisted = _named_by_fences(view) - set(listed)
    condemned = _listed_in(bucket, [*listed, *unlisted])
    return WriteFence(view, condemned, damaged, frozenset(filter(_is_gc, listed)))


def _below_lists(view: View) -> list[str]:
    """Return the keys below gc/.

    Object storage makes sure of an empty list by a second request. A list that was not empty the
    last time begins behind the folder instead, which costs one.
    """
    logs = view.log.logs
    found = list(logs.bucket.keys(LISTS, LISTS if logs.had_gc_keys else ""))
    logs.had_gc_keys = bool(found)
    return found


def _is_gc(key: str) -> bool:
    return bool(_LIST.fullmatch(key) or _ROUND.fullmatch(key))


def _named_by_fences(view: View) -> set[str]:
    """Return the lists that the newest fences of a log name, each once for a process.

    A list of keys can be old, or no list at all. So the writer asks for these lists themselves. One
    that it finds missing has ended; one that it finds is asked for again.
    """
    ended = view.log.ended_gcs
    fences = [event for event in view.tail if isinstance(event, dict) and is_fence(event)]
    found = set()
    for event in fences[-_ASKED:]:
        name = f"{LISTS}{event['gc']}.json"
        if event["number"] in ended or not _LIST.fullmatch(name):
            continue
        if view.log.bucket.size(name) is None:
            ended.add(event["number"])
        else:
            found.add(name)
    return found


def mark_damaged(bucket: Bucket, blob: str) -> None:
    """Note durably that a blob is missing or damaged, so that no writer believes it exists.

    Writers to object storage believe the newest manifest otherwise. The key says it all, so they
    read no value. An earlier kept reads it as the list of a gc that deletes nothing.
    """
    bucket.put(f"{LISTS}damaged-{blob}.json", [encode_list(())])


def unmark_damaged(bucket: Bucket, blob: str) -> None:
    """Remove the note, once the blob is whole again."""
    bucket.delete(f"{LISTS}damaged-{blob}.json")


def marked_blob(key: str) -> str | None:
    """Return the blob that a key marks as damaged, None if it is another key."""
    found = _MARKER.fullmatch(key)
    return found[1] if found else None


def lists(bucket: Bucket) -> list[str]:
    """Return the keys of the lists of gcs; other files in their folder are ignored."""
    return [key for key in bucket.keys(LISTS) if _LIST.fullmatch(key)]


def is_of_gc(key: str) -> bool:
    """Return whether a key is a list of a gc, marks a damaged blob, or counts a round."""
    return bool(_is_gc(key) or _MARKER.fullmatch(key))


def round_of(key: str) -> int | None:
    """Return the number of a round, None for another key."""
    found = _ROUND.fullmatch(key)
    return int(found[1]) if found else None


def round_key(number: int) -> str:
    """Return the key of a round: of a gc that puts no fences into other logs."""
    return f"{LISTS}round-{number:020d}.json"


def encode_list(keys: Iterable[str], owner: Json = None) -> bytes:
    """Return the stored form of the list of a gc; the owner is its process."""
    listed = list(keys)
    whose = {} if owner is None else {"owner": owner}
    return canonical({"blake3": digest(canonical(listed)), "keys": listed} | whose)


def owner_of(bucket: Bucket, name: str) -> Json:
    """Return what a list says of the process of its gc; None if it says nothing."""
    try:
        value = parse(read_bounded(bucket, name, MOST_VALUE), name)
    except (KeyNotFound, Damaged):
        return None
    return value.get("owner") if isinstance(value, dict) else None


def read_list(bucket: Bucket, name: str) -> list[str]:
    """Return the keys in the list of a gc, none if that gc has just ended.

    Raises Damaged, or StoreError if the list stays listed and cannot be found: the gc may continue.
    """
    for attempt in range(_LOOKS):
        try:
            return again_if_damaged(lambda: _read_list(bucket, name))
        except KeyNotFound:
            if name not in bucket.keys(LISTS):
                return []
        time.sleep(_PAUSE * 2**attempt)
    raise StoreError(
        f"{bucket.location}: {name} is listed, and a request for it does not find it. A cache "
        "before the bucket may keep old answers: wait until they expire, or use the bucket's own "
        "endpoint."
    )


def _read_list(bucket: Bucket, name: str) -> list[str]:
    value = parse(read_bounded(bucket, name, MOST_VALUE), name)
    keys = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(keys, list) or not all(
        isinstance(key, str) and key.isascii() for key in keys
    ):
        raise Damaged(f"{name} is damaged: it lists no keys. Run kept repair.")
    # Lists of an earlier kept have no checksum.
    if value.get("blake3", digest(canonical(keys))) != digest(canonical(keys)):
        raise Damaged(f"{name} is damaged: its keys do not match their checksum. Run kept repair.")
    return keys
