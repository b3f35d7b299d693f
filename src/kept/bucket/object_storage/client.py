"""Creates obstore's clients for a location, from the standard environment of each cloud.

During a large upload over a slow line the server sends nothing for a long time, so uploads have
their own client, without a limit for silence. Elsewhere silence means a broken connection.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from obstore.store import from_url

from kept.bucket.location import SCHEMES
from kept.bucket.object_storage.aws_profile import ENDPOINTS, profile_options

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_OTHER_ENDPOINTS = ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL")
_CONNECT = timedelta(seconds=10)
_SILENCE = timedelta(seconds=20)  # of a server, before the request fails
_LONGEST = timedelta(minutes=15)  # of a request: 128 MiB at 0.15 MB/s
# No attempt begins later than that, so a server that never answers costs at most 30 s.
_RETRIES_FOR = timedelta(seconds=10)


class Clients(NamedTuple):
    """Two clients for the same location."""

    store: Any
    uploads: Any


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
        "timeout": _LONGEST,
        "connect_timeout": _CONNECT,
    }
    return Clients(
        from_url(
            location,
            client_options={**options, "read_timeout": _SILENCE},
            retry_config=retry,
            **profile,
        ),
        from_url(location, client_options=options, retry_config=retry, **profile),
    )


def _names_http(endpoint: str | None) -> bool:
    """Return whether the user has explicitly named an endpoint without TLS."""
    named = [endpoint or "", *(os.environ.get(n, "") for n in (*ENDPOINTS, *_OTHER_ENDPOINTS))]
    return any(each.startswith("http://") for each in named)
