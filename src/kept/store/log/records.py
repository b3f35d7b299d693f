"""The records of a log in their bucket: read, listed and created, each checked.

A record is created once. Only a repair replaces one that cannot be read.
"""

from __future__ import annotations

import re
import time
import warnings
from typing import TYPE_CHECKING

from kept.errors import (
    Damaged,
    DamageWarning,
    InvalidMetadata,
    KeptError,
    KeyExists,
    KeyNotFound,
    NotDurable,
    Unreachable,
)
from kept.parallel import mapped
from kept.store.encoding import (
    MOST_RECORD,
    RECORD_MEMORY,
    again_if_damaged,
    memory_of,
    read_bounded,
    seal,
    sealed,
)
from kept.store.log.events import Event, Fault, Item, Wrong, check_event, follows, seal_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.bucket.base import Bucket

_ATTEMPTS = 8  # if the bucket answers "exists" for a record that cannot be read
_PAUSE = 0.02  # seconds before the second attempt, twice as many before each further one
_AHEAD = 16  # records read at once if each one costs a round trip
_NAME = re.compile(r"[0-9]{20}\.json")
MOST_LOST = 1000  # missing records that are named one by one


class Records:
    """The records of one artifact."""

    def __init__(self, bucket: Bucket, artifact: str) -> None:
        self._bucket, self._artifact = bucket, artifact
        self.folder = f"artifacts/{artifact}/log/"

    def key(self, number: int) -> str:
        """Return the key of record number, counted from 1."""
        return f"{self.folder}{number:020d}.json"

    def numbers(self, after: int = 0) -> list[int]:
        """Return the numbers of the existing records that are greater than after, ascending."""
        return list(numbers_in(self._bucket, self.folder, after))

    def exists(self, number: int) -> bool:
        """Return whether record number exists, whatever a list says."""
        return self._bucket.size(self.key(number)) is not None

    def read(self, number: int) -> Event:
        """Return record number; raises Damaged, also if it is missing."""
        try:
            return self._read(number)[0]
        except KeyNotFound:
            raise Damaged(self.missing(number).message) from None

    def read_or_fault(self, number: int) -> Item:
        """Return record number, or why it cannot be read."""
        return self._sealed_or_fault(number)[0]

    def read_all(self, first: int, listed: Sequence[int], before: Item | None) -> list[Item]:
        """Return the records from first up to the last listed one, faults in their places.

        Each record has to follow the one before it; before is that of the first one, if known. A
        listing can miss a record that was created while it ran, but reading does not: a record
        exists before the next one is created.
        """
        at_once = _AHEAD if self._bucket.is_remote else 1
        found = list(mapped(self._sealed_or_fault, self._expected(first, listed), at_once))
        return self._chained(before, found)

    def create(self, event: Event) -> bool:
        """Create the record of an event; return False if another writer has that number.

        "Exists" is ambiguous: after a lost answer and a retry the record can be this writer's, and
        S3 also says it of races that no writer has won yet. A missing answer is ambiguous, too, and
        so is an error of the disk. So the record is read back and compared (as icechunk and SlateDB
        do). A write_id alone proves nothing: two programs that copy an event can state it
        differently, for example as deleted.
        """
        number = event["number"]
        key, data = self.key(number), [seal(event)]
        if len(data[0]) > MOST_RECORD or memory_of(data[0]) > RECORD_MEMORY:
            raise InvalidMetadata(
                f"A record has at most {MOST_RECORD} bytes, and some 500,000 values. Received: "
                f"{len(data[0])} bytes, most of them metadata. Store large values as files."
            )
        for attempt in range(_ATTEMPTS):
            failed: Exception | None = None
            try:
                self._bucket.put_if_absent(key, data)
                return True
            except KeyExists:
                pass
            except NotDurable as error:  # stored and visible, whatever the disk can read now
                _warn_of(key, error)
                return True
            except (Unreachable, OSError) as error:
                failed = error
            try:
                is_own = self._read(number)[1] == seal_of(event)
            except KeyNotFound:
                if failed is not None:
                    raise failed from None
                time.sleep(_PAUSE * 2**attempt)
                continue
            if is_own and isinstance(failed, OSError):
                _warn_of(key, failed)
            return is_own
        raise KeptError(f"{key} can neither be created nor read in {self._bucket.location}")

    def _read(self, number: int, *, must_exist: bool = False) -> tuple[Event, str]:
        """Return a record and its seal; raises KeyNotFound or Damaged."""
        return again_if_damaged(lambda: self._read_once(number), must_exist=must_exist)

    def _read_once(self, number: int) -> tuple[Event, str]:
        key = self.key(number)
        data = read_bounded(self._bucket, key, MOST_RECORD)
        event, seal_digest = sealed(data, key, RECORD_MEMORY)
        try:
            check_event(event, self._artifact, number)
        except ValueError as error:
            raise Damaged(f"{key} is damaged: {error}") from None
        return event, seal_digest

    def _sealed_or_fault(self, number: int) -> tuple[Item, str]:
        try:  # a later record exists, so this one does, too, unless it was lost
            return self._read(number, must_exist=self._bucket.is_remote)
        except KeyNotFound:
            return self.missing(number), ""
        except Damaged as error:
            return Fault(number, str(error)), ""

    def missing(self, number: int) -> Fault:
        """Return the fault of a record that does not exist."""
        key = self.key(number)
        return Fault(number, f"{key} is missing: the log has a gap", Wrong.MISSING)

    def unlinked(self, event: Event) -> Fault:
        """Return the fault of an event that does not follow the record before it."""
        key = self.key(event["number"])
        return Fault(event["number"], f"{key} does not follow the record before it", Wrong.FOREIGN)

    def _expected(self, first: int, listed: Sequence[int]) -> Iterator[int]:
        """Yield the numbers from first on; of a long gap only its beginning."""
        for number in listed:
            yield from range(first, min(number, first + MOST_LOST))
            yield number
            first = number + 1

    def _chained(self, before: Item | None, found: list[tuple[Item, str]]) -> list[Item]:
        """Return the items, with a fault in place of each record that breaks the chain.

        If a record does not follow the one before it, one of the two does not belong here. It is
        the later one if the record after it does not follow it either, or if there is none.
        """
        broken: set[int] = set()
        seal_digest = ""
        for item, own_seal in found:
            known = before if isinstance(before, dict) else None
            is_known = known is not None or number_of(item) == 1
            if isinstance(item, dict) and is_known and not follows(item, known, seal_digest):
                broken.add(item["number"])
            before, seal_digest = item, own_seal
        first, last = (number_of(found[0][0]), number_of(found[-1][0])) if found else (0, 0)
        faulty = {n if n + 1 in broken or n in (first, last) else n - 1 for n in broken}
        return [self._foreign(item) if _is_in(item, faulty) else item for item, _ in found]

    def _foreign(self, item: Item) -> Fault:
        number = number_of(item)
        key = self.key(number)
        message = f"{key} comes from elsewhere: the records beside it belong to another one"
        return Fault(number, message, Wrong.FOREIGN)


def _warn_of(key: str, error: OSError) -> None:
    warnings.warn(
        f"{key} is committed, but the disk reported an error: {error}. A power cut may lose it. "
        "Run kept verify.",
        DamageWarning,
        stacklevel=3,
    )


def numbers_in(bucket: Bucket, folder: str, after: int = 0) -> Iterator[int]:
    """Yield the numbers of the records or pages in a folder that are greater than after."""
    for name in bucket.names(folder, f"{after:020d}.json"):
        if _NAME.fullmatch(name):
            yield int(name.removesuffix(".json"))


def number_of(item: Item) -> int:
    """Return the number of an event or a fault."""
    return item.number if isinstance(item, Fault) else int(item["number"])


def _is_in(item: Item, numbers: set[int]) -> bool:
    return isinstance(item, dict) and item["number"] in numbers
