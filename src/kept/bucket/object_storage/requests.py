"""Asking object storage: what obstore raises becomes kept's errors here."""

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


class Asking:
    """Makes requests to a location. For many threads."""

    def __init__(self, location: str, retries: int) -> None:
        self._location, self._retries = location, retries

    def __call__(self, key: str, ask: Callable[[], T]) -> T:
        """Return what ask returns, which may be asked again; see once."""
        attempt = 0
        while True:
            try:
                return self.once(key, ask)
            except Unreachable as error:
                self.rest(error, attempt)
                attempt += 1

    def once(self, key: str, ask: Callable[[], T]) -> T:
        """Return what ask returns; turn the library's errors into kept's.

        Those quote requests, so kept's are raised outside of the handler, not chained to them.
        """
        try:
            return ask()
        except (BaseError, OSError, ValueError) as error:
            found = self._translated(error, key)
        try:
            raise found
        finally:
            del found  # else error and frame hold each other, and the frames below their blobs

    def rest(self, error: Unreachable, attempt: int) -> None:
        """Wait before the next attempt; raise the error if the library has tried again itself.

        An answer that is broken off before its body has begun is the one thing it does not.
        """
        if _BROKEN_OFF not in str(error) or attempt >= self._retries:
            raise error
        time.sleep(min(0.1 * 2**attempt, 5.0))

    def missing(self, key: str) -> KeyNotFound:
        """Return the error for a key that is not there."""
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
