"""Sends values of more than 1 MiB. They may take long, so each has a time limit by its size.

The limit supposes a line of 1 MB/s that all uploads share. If it is over, either the server has
lost the upload, or the line is slower. So kept asks for a small value, and sends the upload again
without others beside it, which suffices on a line that is eight times slower. While the line is
that slow, uploads go one by one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import obstore

from kept.bucket.object_storage.breaker import Breaker
from kept.bucket.object_storage.client import AT_ONCE, SLOWEST, upload_seconds
from kept.bucket.object_storage.requests import Upload, UploadTimedOut
from kept.errors import KeyNotFound, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.bucket.object_storage.client import Clients
    from kept.bucket.object_storage.requests import Requests

__all__ = ["AT_ONCE", "Uploads", "Value"]

_ASKED = "kept.json"  # a small value that every store has


class Value(NamedTuple):
    """A value to upload."""

    key: str
    size: int
    at_once: int  # bytes that one request sends, or several at the same time
    creates: bool = False


class Uploads:
    """Sends large values to one bucket. For many threads."""

    def __init__(self, clients: Clients, request: Requests) -> None:
        self._clients, self._request = clients, request
        self._turn = threading.Lock()  # of the one upload under way, on a slow line
        self._is_slow = False
        self._lost = Breaker(request.location, "large upload")  # knows of uploads sent alone

    def __call__(self, value: Value, put: Callable[[Any], object]) -> None:
        """Send a value with put, which takes a client; raises what Requests raises."""
        begun = time.monotonic()
        is_late = False
        if not self._is_slow:
            try:
                self._send(value, put)
            except UploadTimedOut:
                is_late = self._is_slow = True
            else:
                return
        with self._turn:
            self._send_alone(value, put, begun, is_late=is_late)

    def _send_alone(
        self, value: Value, put: Callable[[Any], object], begun: float, *, is_late: bool
    ) -> None:
        self._lost.check()  # another upload was just lost
        if is_late:
            self._ask()
        sent = time.monotonic()
        lost = False
        try:
            self._send(value, put)
        except UploadTimedOut:
            lost = True
        if lost:
            self._lost.timed_out(begun)
            raise Unreachable(
                f"{self._request.location}: the server did not answer in time to an upload of "
                f"{value.size / 1e6:.1f} MB, which kept sent alone, within "
                f"{time.monotonic() - sent:.0f} s. Check the network, the endpoint and the "
                f"proxies; try again later. Received for {value.key!r}: no answer"
            )
        self._lost.answered()
        self._is_slow = value.size < SLOWEST * (time.monotonic() - sent)

    def _send(self, value: Value, put: Callable[[Any], object]) -> None:
        client = self._clients.for_upload(value.at_once)
        upload = Upload(value.size, upload_seconds(value.at_once))
        self._request(value.key, lambda: put(client), creates=value.creates, upload=upload)

    def _ask(self) -> None:
        """Raise Unreachable if the server answers nothing at all."""
        with contextlib.suppress(KeyNotFound):
            self._request(_ASKED, lambda: obstore.head(self._clients.store, _ASKED))
