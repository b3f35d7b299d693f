"""Locations of object storage: recognizes them, and keeps secrets out of them."""

from __future__ import annotations

from urllib.parse import urlsplit

from kept.errors import InvalidInput

SCHEMES = {
    "s3": "S3", "s3a": "S3",
    "gs": "Google Cloud Storage",
    "az": "Azure", "azure": "Azure", "adl": "Azure", "abfs": "Azure", "abfss": "Azure",
}  # fmt: skip
_WITH_CONTAINER = ("abfs", "abfss")  # abfss://container@account.dfs.core.windows.net/prefix


def is_remote(location: str) -> bool:
    """Return whether a location names object storage."""
    scheme, separator, _ = location.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


def clean_location(location: str) -> str:
    """Return a location of object storage in its canonical spelling; raises InvalidInput.

    A location is shown, logged and stored. So one with a password, a signature or any other query
    is refused, and the message does not repeat it.
    """
    try:
        parts = urlsplit(location)
        has_secret = bool(parts.password is not None or parts.query or parts.fragment)
        has_user = parts.username is not None and parts.scheme not in _WITH_CONTAINER
    except ValueError:
        raise InvalidInput("The location of a store is not a URL that can be read.") from None
    where = parts.netloc if parts.scheme in _WITH_CONTAINER else parts.netloc.rpartition("@")[2]
    if has_secret or has_user:
        raise InvalidInput(
            "A location holds no credentials, query or fragment: it is shown and stored. Pass "
            "credentials by the standard environment variables of the cloud. Received (without "
            f"them): '{parts.scheme}://{where.rpartition('@')[2]}{parts.path}'"
        )
    if not where:
        raise InvalidInput(f"A location names a bucket: s3://BUCKET/PREFIX. Received: {location!r}")
    path = "/".join(part for part in parts.path.split("/") if part)
    if ".." in path.split("/"):
        raise InvalidInput(f"A location has no part '..'. Received: {location!r}")
    return f"{parts.scheme}://{where}" + (f"/{path}" if path else "")
