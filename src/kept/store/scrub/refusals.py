"""A bucket whose refused reads are sent once more, and then noted, so that a check continues.

A refused request says nothing about the stored bytes: they are neither sound nor damaged.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from kept.errors import (
    BucketNotFound,
    KeyNotFound,
    RemoteError,
    Unreachable,
    Unreadable,
    UnsafeServer,
)
from kept.store.format_marker import FORMAT_KEY
from kept.store.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kept.bucket.base import Bucket, Buffer, Item
    from kept.store.scrub.report import Report

T = TypeVar("T")
_OF_ALL_KEYS = (Unreachable, BucketNotFound, UnsafeServer)


class Unread(Unreadable):
    """The server refused to send the value of a key, twice."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


class PatientBucket:
    """Passes all calls to a bucket. For many threads.

    A refused list, and a refusal that concerns the whole bucket, is an error. A refused value
    raises Unread, which a check handles like a damaged one, and takes out of its report later.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._refused: dict[str, str] = {}  # key -> the message of each Unread about it

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Buffer:
        """See Bucket.get; raises Unread.

        That the key is missing counts only if a request for its length says so, too.
        """
        try:
            return _twice(lambda: self._bucket.get(key, start, length))
        except RemoteError as error:
            raise self._noted(key, error) from None
        except KeyNotFound as error:
            if self.size(key) is None:
                raise
            raise self._noted(key, RemoteError(f"{error}, but its length is known")) from None

    def size(self, key: str) -> int | None:
        """See Bucket.size; raises Unread."""
        try:
            return _twice(lambda: self._bucket.size(key))
        except RemoteError as error:
            raise self._noted(key, error) from None

    def items(self, prefix: str, after: str = "") -> Iterator[Item]:
        """See Bucket.items; after a refusal it continues behind the last key."""
        try:
            for item in self._bucket.items(prefix, after):
                after = item.key
                yield item
        except RemoteError as error:
            if isinstance(error, _OF_ALL_KEYS):
                raise
            yield from self._bucket.items(prefix, after)

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """See Bucket.keys."""
        return (item.key for item in self.items(prefix, after))

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """See Bucket.names."""
        return iter(_twice(lambda: list(self._bucket.names(prefix, after))))

    def folders(self, prefix: str) -> Iterator[str]:
        """See Bucket.folders."""
        return iter(_twice(lambda: list(self._bucket.folders(prefix))))

    def sort_out(self, report: Report) -> None:
        """Move what was refused from the problems of a report to what is unread.

        A value can be read and damaged although another request for its key was refused. So only
        a problem whose message repeats the refusal moves.
        """
        named = {problem.key for problem in report.problems}
        found = [p for p in report.problems if self._is_refusal(p)]
        report.problems = [p for p in report.problems if not self._is_refusal(p)]
        found += [Problem(key, "", key) for key in sorted(self._refused.keys() - named)]
        unread = (replace(problem, message=self._refused[problem.key]) for problem in found)
        report.unread = list(dict.fromkeys(unread))

    def _is_refusal(self, problem: Problem) -> bool:
        refusal = self._refused.get(problem.key)
        return refusal is not None and refusal in problem.message

    def _noted(self, key: str, error: RemoteError) -> Unread:
        """Return the error of a refused key; raise one that concerns the whole bucket."""
        if isinstance(error, _OF_ALL_KEYS) or key == FORMAT_KEY:
            raise error
        with contextlib.suppress(KeyNotFound):
            _twice(lambda: self._bucket.get(FORMAT_KEY))
        return Unread(self._refused.setdefault(key, f"{key} could not be read: {error}"), key)


def _twice(request: Callable[[], T]) -> T:
    """Return request(), or that of a second attempt if the server refuses, or finds no key."""
    try:
        return request()
    except (RemoteError, KeyNotFound) as error:
        if isinstance(error, _OF_ALL_KEYS):
            raise
    return request()
