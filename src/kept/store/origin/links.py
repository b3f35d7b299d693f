"""What a version was made from: links to versions, and sources outside of stores.

A link to a version is an object with the keys artifact, index and digest (the content digest); with
store and store_id if the version is in another store, and alias if the user named it by one. A
source is an object with the keys uri and, if it is known, digest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.digest import DIGEST
from kept.errors import InvalidInput
from kept.names import is_name
from kept.store.origin.secrets import without_secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kept.store.encoding import Json

_MOST = 2048  # characters of a URI
_SCHEME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*:[A-Za-z0-9+/=._-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """A data set, or another source of a version, that is in no store.

    digest says which content it had: "<scheme>:<value>", such as "sha256:9f86…". kept records both
    and reads neither. Passwords and signatures in the URI are replaced by ***. Raises InvalidInput.
    """

    uri: str
    digest: str | None = None

    def __post_init__(self) -> None:
        """Check the texts; raises InvalidInput."""
        uri = self.uri
        is_text = isinstance(uri, str) and uri.isprintable() and uri == uri.strip()
        if not is_text or not 0 < len(uri) <= _MOST:
            raise InvalidInput(
                f"The uri of a kept.Source is a text of 1 to {_MOST} characters, such as "
                f"'s3://bucket/data.parquet'. Received: {uri!r}"
            )
        if self.digest is not None and not _is_digest(self.digest):
            raise InvalidInput(
                "The digest of a kept.Source is '<scheme>:<value>', such as 'sha256:9f86…'. "
                f"Received: {self.digest!r}"
            )
        object.__setattr__(self, "uri", without_secrets_in_url(uri))

    def __str__(self) -> str:
        return self.uri

    def as_json(self) -> dict[str, Json]:
        """Return the source as an event of a log has it."""
        return {"uri": self.uri} | ({"digest": self.digest} if self.digest else {})


@dataclass(frozen=True, slots=True)
class Link:
    """A version that another version was made from, as it was when that one was committed."""

    artifact: str
    index: int | None = None  # None if an alias could not be resolved
    digest: str | None = None  # the content digest; None if the store could not be read
    alias: str | None = None  # by which the user named it
    store: str | None = None  # the location of another store; None for the same store
    store_id: str | None = None  # of that other store

    @property
    def reference(self) -> str:
        """The version in its store: "base:v3"."""
        if self.index is None:
            return f"{self.artifact}:{self.alias or 'latest'}"
        return f"{self.artifact}:v{self.index}"

    def __str__(self) -> str:
        return self.reference if self.store is None else f"{self.store}/{self.reference}"

    def as_json(self) -> dict[str, Json]:
        """Return the link as an event of a log has it."""
        keys = ("artifact", "index", "digest", "alias", "store", "store_id")
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}


def link_to(version: Any) -> Link:
    """Return a link to a version of the same store, as a kept.Version names it."""
    return Link(version.name, version.index, version.digest)


def link_in(value: Mapping[str, Json]) -> Link | Source | None:
    """Return what an object of a log says; None if this kept does not know its form."""
    if "uri" in value:
        try:
            return Source(value["uri"], value.get("digest"))
        except InvalidInput:
            return None
    texts = [value.get(key) for key in ("digest", "alias", "store", "store_id")]
    index, content = value.get("index"), value.get("digest")
    is_known = (
        is_name(value.get("artifact"))
        and (index is None or (type(index) is int and index >= 0))
        and (content is None or (type(content) is str and DIGEST.fullmatch(content)))
        and all(text is None or type(text) is str for text in texts)
    )
    return Link(value["artifact"], index, *texts) if is_known else None


def links_in(values: object) -> tuple[Link | Source, ...]:
    """Return what the objects of a list say, without those of an unknown form."""
    objects = [each for each in values if isinstance(each, dict)] if type(values) is list else []
    return tuple(link for link in map(link_in, objects) if link is not None)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MOST and bool(_SCHEME.fullmatch(value))
