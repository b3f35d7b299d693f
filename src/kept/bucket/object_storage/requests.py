"""Sends requests to object storage, and turns obstore's errors into kept's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError

from kept.bucket.object_storage.errors import error_of
from kept.errors import InvalidInput, KeyExists, KeyNotFound, RemoteError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_BROKEN_OFF = "response body error"


class OutOfRange(Exception):
    """The value ends before the range begins."""


class Requests:
    """Sends requests to a location. For many threads."""

    def __init__(self, location: str, retries: int) -> None:
        self._location, self._retries = location, retries

    def __call__(self, key: str, request: Callable[[], T]) -> T:
        """Send a request and return its result; raise kept's errors instead of the library's.

        The library's errors quote requests, so kept's are raised outside of the handler, not
        chained to them. The library retries every failed request except one: it does not if the
        answer breaks off before its body has begun. This method does that.
        """
        attempt = 0
        while True:
            try:
                return request()
            except (BaseError, OSError, ValueError) as error:
                found = self._translated(error, key)
            is_retried = isinstance(found, Unreachable) and _BROKEN_OFF in str(found)
            if not is_retried or attempt >= self._retries:
                break
            time.sleep(min(0.1 * 2**attempt, 5.0))
            attempt += 1
        try:
            raise found
        finally:
            del found  # else error and frame hold each other, and the frames below their blobs

    def missing(self, key: str) -> KeyNotFound:
        """Return the error for a missing key."""
        return KeyNotFound(f"No such key in {self._location}. Received: {key!r}")

    def _translated(self, error: Exception, key: str) -> Exception:
        text = str(error)
        if isinstance(error, AlreadyExistsError):
            return KeyExists(f"The key exists already. Received: {key!r}")
        translated = error_of(text, self._location, key)
        if isinstance(error, FileNotFoundError) and type(translated) is RemoteError:
            return self.missing(key)
        if "status code: 416" in text or "Wanted range starting at" in text:  # S3; Azurite
            return OutOfRange(key)
        if isinstance(error, ValueError):
            return InvalidInput(f"{self._location} cannot be used: {translated}")
        return translated
