"""The clients of obstore for a location: the standard environment of each cloud, and patience.

A large upload over a slow line is silent on this side for as long as it takes, so it has its own
client. Elsewhere silence means that something is broken.
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
_SILENCE = timedelta(seconds=60)  # of a server, before the request is made again
_LONGEST = timedelta(minutes=15)  # of a request: 128 MiB on their way at 0.15 MB/s
_RETRIES_FOR = timedelta(minutes=3)


class Clients(NamedTuple):
    """Two clients for the same place."""

    store: Any
    uploads: Any


def open_clients(location: str, retries: int) -> Clients:
    """Return the clients for a location.

    Raises InvalidInput, AccessDenied, or what obstore raises; no request is made.
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
        "connect_timeout": timedelta(seconds=5),
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
    """Return whether an endpoint without TLS is named, in so many words."""
    named = [endpoint or "", *(os.environ.get(n, "") for n in (*ENDPOINTS, *_OTHER_ENDPOINTS))]
    return any(each.startswith("http://") for each in named)
