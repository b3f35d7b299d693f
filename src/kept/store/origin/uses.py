"""What a user names as used: checked first, without any store, and then looked up in the stores."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.bucket.open import bucket_at
from kept.errors import InvalidInput, InvalidReference, NotFound
from kept.names import Reference, parse_reference
from kept.store.format_marker import check_format, known_id
from kept.store.log.log import Logs
from kept.store.log.lookup import find, view_of
from kept.store.origin.links import Link, Source

if TYPE_CHECKING:
    from collections.abc import Iterable

_STORES = ("s3", "gs", "az", "file")  # of locations that open_store takes
_MOST = 1000  # items: a record repeats them for each version of a run
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FORMS = (
    "Name a version of this store as 'NAME:v3' or 'NAME:ALIAS', one of another store as "
    "'LOCATION/NAME:v3', or pass a kept.Version, or kept.Source(uri, digest) for what is in no "
    "store."
)


class Used(NamedTuple):
    """A reference that a user has named, before it is looked up."""

    text: str
    reference: Reference
    store: str | None = None  # the location of another store


class Held(NamedTuple):
    """A version that a user has passed as an object."""

    link: Link
    location: str
    store_id: str


Wanted = Used | Held | Source


def wanted(uses: Iterable[Any]) -> tuple[Wanted, ...]:
    """Return what is named as used, in its forms checked; no store is read. Raises InvalidInput."""
    if isinstance(uses, (str, bytes, os.PathLike, Source)) or not hasattr(uses, "__iter__"):
        raise InvalidInput(f"uses is a list. {_FORMS} Received: uses={uses!r}")
    found = tuple(dict.fromkeys(map(_one, uses)))
    if len(found) > _MOST:
        raise InvalidInput(f"uses has at most {_MOST} items. Received: {len(found)} items")
    return found


def held(version: Any) -> Held:
    """Return a kept.Version as a link, with the store that has it."""
    store = version.store
    link = Link(version.name, version.index, version.digest)
    return Held(link, store.location, known_id(store.logs.marker))


def _one(given: Any) -> Wanted:
    if isinstance(given, Source):
        return given
    if hasattr(given, "store") and hasattr(given, "record") and hasattr(given, "name"):
        return held(given)
    if isinstance(given, os.PathLike) or not isinstance(given, str):
        if isinstance(given, os.PathLike):
            raise _is_file(os.fspath(given))
        raise InvalidInput(f"{_FORMS} Received: {given!r}")
    location, slash, reference = given.rpartition("/")
    if not slash:
        return _here(given)
    return _elsewhere(given, location, reference)


def _here(text: str) -> Used:
    try:
        return Used(text, parse_reference(text))
    except InvalidReference:
        if os.path.exists(text):
            raise _is_file(text) from None
        raise InvalidReference(f"{_FORMS} Received: {text!r}") from None


def _elsewhere(text: str, location: str, reference: str) -> Used:
    scheme = _URL.match(text)
    if scheme and scheme[1].lower() not in _STORES:
        raise InvalidReference(
            f"{scheme[1]}:// is no location of a store. For a data set at a URL pass "
            f"kept.Source(uri, digest). Received: {text!r}"
        )
    if os.path.isfile(text) or (":" not in reference and "@" not in reference):
        if not scheme and os.path.exists(text):
            raise _is_file(text)
        raise InvalidReference(
            f"A version of another store is named with its version or alias: "
            f"{text}:v3 or {text}:latest. For a data set pass kept.Source(uri, digest). "
            f"Received: {text!r}"
        )
    return Used(text, parse_reference(reference), location)


def _is_file(path: str) -> InvalidInput:
    kind = "folder" if os.path.isdir(path) else "file"
    name = re.sub(r"[^A-Za-z0-9._-]", "-", os.path.basename(path.rstrip("/"))) or "data"
    return InvalidInput(
        f"{path} is a {kind}, and kept does not read and hash files that are only named. Store it, "
        f"so that its content is known: store.log_artifact({name!r}, {path!r}, type='dataset'), or "
        f"{shlex.join(['kept', 'put', name, path, '--type', 'dataset'])}, and name that version: "
        f"{name + ':latest'!r}. Or pass kept.Source({path!r}, 'sha256:…') with a digest of your "
        f"own; for kept put, that is --source."
    )


def resolve(uses: Iterable[Wanted], logs: Logs) -> tuple[Link | Source, ...]:
    """Return links with the index and the digest of each version, as the stores have them now.

    logs are those of the store that gets the new version. Another store is opened once. Raises
    NotFound for a version that does not exist, and what reading a store raises.
    """
    opened: dict[str, Logs] = {}
    found: dict[Link | Source, Link | Source] = {}  # a version once, by whichever names
    for use in uses:
        link = _resolved(use, logs, opened)
        found.setdefault(replace(link, alias=None) if isinstance(link, Link) else link, link)
    return tuple(found.values())


def _resolved(use: Wanted, logs: Logs, opened: dict[str, Logs]) -> Link | Source:
    if isinstance(use, Source):
        return use
    if isinstance(use, Held):
        store_id = known_id(logs.marker)
        is_here = use.location == logs.bucket.location or (store_id and use.store_id == store_id)
        if is_here:
            return use.link
        return replace(use.link, store=use.location, store_id=use.store_id or None)
    if use.store is None:
        return _found(use, logs)
    if use.store not in opened:
        opened[use.store] = _opened(use)
    there = opened[use.store]
    link = _found(use, there)
    store_id = known_id(there.marker)
    if there.bucket.location == logs.bucket.location or (
        store_id and store_id == known_id(logs.marker)
    ):
        return link
    return replace(link, store=there.bucket.location, store_id=store_id or None)


def _opened(use: Used) -> Logs:
    bucket = bucket_at(str(use.store))
    marker = check_format(bucket)
    if not marker.exists:
        raise NotFound(f"There is no store in {bucket.location}. Received: uses={[use.text]!r}")
    return Logs(bucket, marker)


def _found(use: Used, logs: Logs) -> Link:
    wanted_ = use.reference
    try:
        record = find(view_of(logs, wanted_.name), wanted_)
    except NotFound as error:
        is_name = use.store is None and os.path.exists(use.text)
        hint = f" {_is_file(use.text)}" if is_name else ""
        raise type(error)(f"{error}{hint} Received: uses={[use.text]!r}") from None
    return Link(wanted_.name, record.index, record.digest, wanted_.alias)


def unresolved(uses: Iterable[Wanted], location: str) -> tuple[Link | Source, ...]:
    """Return links as far as they are known without any store, if none can be reached.

    location is that of the store that gets the new version.
    """
    return tuple(_unresolved(use, location) for use in uses)


def _unresolved(use: Wanted, location: str) -> Link | Source:
    if isinstance(use, Source):
        return use
    if isinstance(use, Held):
        if use.location == location:
            return use.link
        return replace(use.link, store=use.location, store_id=use.store_id or None)
    named = use.reference
    is_whole = named.digest is not None and len(named.digest) == 64
    content = named.digest if is_whole else None
    return Link(named.name, named.index, content, named.alias, use.store)
