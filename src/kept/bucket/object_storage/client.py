"""Creates obstore's clients for a location, from the standard environment of each cloud.

During a large upload over a slow line the server sends nothing for a long time. So uploads have
clients of their own, with a limit by their size. Elsewhere silence means a broken connection.
"""

from __future__ import annotations

import functools
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from obstore.store import from_url

from kept.bucket.location import SCHEMES
from kept.bucket.object_storage.aws_profile import ENDPOINTS, profile_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ClientConfig, RetryConfig

_OTHER_ENDPOINTS = ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL")
_CONNECT = timedelta(seconds=10)
_SILENCE = timedelta(seconds=20)  # of a server, before the request fails
_LONGEST = timedelta(minutes=15)  # of a request whose answer arrives bit by bit
# No attempt begins later than that, so a server that never answers costs at most 30 s.
_RETRIES_FOR = timedelta(seconds=10)
AT_ONCE = 8  # uploads
SLOWEST = 1e6  # bytes per second of a line on which all uploads at once must succeed
# A client has connections of its own, so there are few: for parts, for blobs, and for the rest.
_SIZES = (5 * 1024 * 1024, 16 * 1024 * 1024 + 4096, 64 * 1024 * 1024)


class Clients(NamedTuple):
    """Clients for the same location."""

    store: Any
    for_upload: Callable[[int], Any]  # by the bytes that an upload sends at once


def upload_seconds(size: int) -> float:
    """Return the limit of an upload by the bytes that it sends at once."""
    step = next((step for step in _SIZES if size <= step), _SIZES[-1])
    return _SILENCE.total_seconds() + AT_ONCE * step / SLOWEST


def open_clients(location: str, retries: int) -> Clients:
    """Return the clients for a location.

    Raises InvalidInput, AccessDenied, or an error of obstore; sends no request.
    """
    profile = profile_options() if SCHEMES[location.partition("://")[0]] == "S3" else {}
    retry: RetryConfig = {
        "max_retries": retries,
        "retry_timeout": _RETRIES_FOR,
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=5),
            "base": 2,
        },
    }
    options: ClientConfig = {
        "allow_http": _names_http(profile.get("endpoint")),
        "connect_timeout": _CONNECT,
    }

    def client(limits: ClientConfig) -> Any:
        return from_url(
            location, client_options={**options, **limits}, retry_config=retry, **profile
        )

    @functools.cache
    def by_seconds(seconds: float) -> Any:
        return client({"timeout": timedelta(seconds=seconds)})

    store = client({"timeout": _LONGEST, "read_timeout": _SILENCE})
    return Clients(store, lambda size: by_seconds(upload_seconds(size)))


def _names_http(endpoint: str | None) -> bool:
    """Return whether the user has explicitly named an endpoint without TLS."""
    named = [endpoint or "", *(os.environ.get(n, "") for n in (*ENDPOINTS, *_OTHER_ENDPOINTS))]
    return any(each.startswith("http://") for each in named)
