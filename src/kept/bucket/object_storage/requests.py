"""Sends requests to object storage, and turns obstore's errors into kept's."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError

from kept.bucket.object_storage.breaker import breaker_of
from kept.bucket.object_storage.errors import error_of, has_timed_out
from kept.errors import InvalidInput, KeyExists, KeyNotFound, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# The library retries other errors that may pass: 5xx, 429, broken connections.
_RETRIED = re.compile(r"response body error|invalid list response|status code: 409")

_MOST = 0.9  # of a limit; the clocks of the library and of Python differ


class OutOfRange(Exception):
    """The value ends before the range begins."""


class UploadTimedOut(Exception):
    """A large upload got no answer within its limit; the server may answer other requests."""


class Upload(NamedTuple):
    """A large upload, which has a longer limit than other requests."""

    size: int
    seconds: float  # the limit


class _Failure(NamedTuple):
    error: Exception
    retries: int  # how often to send the request again


class Requests:
    """Sends requests to a location. For many threads."""

    def __init__(self, location: str, retries: int) -> None:
        self.location, self._retries = location, retries
        self._breaker = breaker_of(location)

    def __call__(
        self,
        key: str,
        request: Callable[[], T],
        *,
        creates: bool = False,
        upload: Upload | None = None,
    ) -> T:
        """Send a request and return its result; raise kept's errors instead of the library's.

        The library's errors quote requests, so kept's are raised outside of the handler, not
        chained to them. After a time-out, requests fail at once for a while. Pass creates if the
        request may fail because the key exists. If the limit of a large upload is over, raises
        UploadTimedOut.
        """
        attempt = 0
        while True:
            self._breaker.check()
            with self._breaker.asking(upload.size if upload else 0) as begun:
                try:
                    found = request()
                except (BaseError, OSError, ValueError) as error:
                    failure = self._failure(error, key, begun, creates=creates, upload=upload)
                else:
                    self._breaker.answered()
                    return found
            if attempt >= failure.retries:
                break
            time.sleep(min(0.1 * 2**attempt, 5.0))
            attempt += 1
        try:
            raise failure.error
        finally:
            del failure  # else error and frame hold each other, and the frames below their blobs

    def missing(self, key: str) -> KeyNotFound:
        """Return the error for a missing key."""
        return KeyNotFound(f"No such key in {self.location}. Received: {key!r}")

    def _failure(
        self, error: Exception, key: str, begun: float, *, creates: bool, upload: Upload | None
    ) -> _Failure:
        text = str(error)
        if has_timed_out(text):
            # An earlier end is that of the connection.
            if upload and time.monotonic() - begun >= _MOST * upload.seconds:
                return _Failure(UploadTimedOut(), 0)
            # If other requests are answered meanwhile, only this connection has stalled.
            retries = 1 if self._breaker.timed_out(begun) else 0
            return _Failure(error_of(text, self.location, key), retries)
        if "status code: " in text:
            self._breaker.answered()
        if isinstance(error, AlreadyExistsError) and creates:
            return _Failure(KeyExists(f"The key exists already. Received: {key!r}"), 0)
        retries = self._retries if _RETRIED.search(text) else 0
        return _Failure(self._translated(error, text, key), retries)

    def _translated(self, error: Exception, text: str, key: str) -> Exception:
        translated = error_of(text, self.location, key)
        if isinstance(error, FileNotFoundError) and type(translated) is RemoteError:
            return self.missing(key)
        if "status code: 416" in text or "Wanted range starting at" in text:  # S3; Azurite
            return OutOfRange(key)
        if isinstance(error, ValueError):
            return InvalidInput(f"{self.location} cannot be used: {translated}")
        return translated
