"""The two sides of a diff: versions, also of other stores, and files or folders on the disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.bucket.open import bucket_at
from kept.errors import (
    ArtifactNotFound,
    InvalidInput,
    InvalidPath,
    InvalidReference,
    NotFound,
    VersionNotFound,
)
from kept.names import is_word, parse_reference
from kept.store.tensors.find import may_have_tensors
from kept.store.tensors.tensors import tensors_at, tensors_of

if TYPE_CHECKING:
    from kept.store.content.manifest import Chunk
    from kept.store.log.history import VersionRecord
    from kept.store.tensors.tensors import Tensors


@dataclass(frozen=True, slots=True)
class Side:
    """A version, or a file or a folder on the disk."""

    label: str  # "name:v3", with the location of another store before it, or a path
    tensors: Tensors
    version: Any = None  # the kept.Version; None on the disk

    @property
    def record(self) -> VersionRecord | None:
        """The record of the version; None on the disk."""
        record: VersionRecord | None = self.version and self.version.record
        return record

    def chunks(self, path: str) -> tuple[Chunk, ...]:
        """Return the chunks of a file; one on the disk is read for them."""
        return self.tensors.sources[path].chunks

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(source.size for source in self.tensors.sources.values())


class Named(NamedTuple):
    """What a text names."""

    path: str | None = None  # a file or a folder
    location: str | None = None  # of another store
    reference: str = ""


def named(text: str) -> Named:
    """Return what a text names: a path, NAME:v3, or LOCATION/NAME:v3 in another store.

    A text without a slash can also be a file; find_side looks for a version first. Raises
    InvalidPath or InvalidReference.
    """
    location, slash, reference = text.rpartition("/")
    is_url = "://" in text
    if not is_url and (slash or text in (".", "..") or text.startswith("~")):
        path = os.path.expanduser(text)
        if os.path.lexists(path):
            return Named(path)
    if not slash:
        return Named(reference=text)
    if ":" in reference or "@" in reference:
        parse_reference(reference)
        return Named(location=location or "/", reference=reference)
    if is_url:
        raise InvalidReference(
            "A version of another store is named with its version or alias: "
            f"{text}:latest. Received: {text!r}"
        )
    raise InvalidPath(
        "There is no such file or folder. A version of another store is named as "
        f"STORE/NAME:v3. Received: {text!r}"
    )


def find_side(text: str, store: Any) -> Side:
    """Return the side that a text names; store is a kept.Store, in which it may name a version.

    Raises InvalidInput, NotFound, Damaged, and what opening another store raises.
    """
    found = named(text)
    if found.path is not None:
        return side_at(found.path)
    if found.location is not None:
        return side_of(_elsewhere(found.location, store, text).version(found.reference), store)
    try:
        return side_of(store.version(found.reference), store)
    except (ArtifactNotFound, InvalidReference) as error:
        if os.path.exists(text):
            return side_at(text)
        if may_have_tensors(text):
            raise type(error)(f"{error} There is no file of that name either.") from None
        raise


def side_of(version: Any, store: Any = None) -> Side:
    """Return a kept.Version as a side; its label names its store if it is not this one.

    Raises NotSigned if its store requires a signature.
    """
    own = version.store
    if own.required_keys:
        version.check_signed(own.required_keys)
    is_here = store is None or store.location == own.location
    label = version.reference if is_here else f"{own.location}/{version.reference}"
    return Side(label, tensors_of(own.bucket, version.manifest), version)


def side_at(path: str | os.PathLike[str]) -> Side:
    """Return a file or a folder on the disk as a side.

    Raises InvalidPath if it does not exist, and InvalidInput for a file that has no tensors.
    """
    text = os.fspath(path)
    tensors = tensors_at(text)
    if os.path.isfile(text) and not tensors.every:
        tensors.close()
        raise InvalidInput(
            "The file is no checkpoint: no tensors were found in it. Pass a .keras, .weights.h5, "
            f".h5, .npz or .safetensors file, or a folder. Received: {text!r}"
        )
    return Side(text, tensors)


def side_before(side: Side, store: Any) -> Side:
    """Return the version before that of a side; raises InvalidInput or VersionNotFound."""
    version = side.version
    if version is None:
        raise InvalidInput(
            f"A path is compared with something: pass B as well. Received: {side.label!r}"
        )
    for each in version.store.newest_first(version.name):
        if each.index < version.index:
            return side_of(each, store)
    raise VersionNotFound(
        f"{version.reference} is the first version of {version.name}, so there is none before it. "
        f"To compare it with another one: kept diff {version.reference} B"
    )


def any_side(other: Any, store: Any) -> Side:
    """Return a kept.Version, a text or a path as a side; raises InvalidInput for others."""
    if isinstance(other, str):
        return find_side(other, store)
    if isinstance(other, os.PathLike):
        return side_at(other)
    if hasattr(other, "manifest") and hasattr(other, "record"):
        return side_of(other, store)
    raise InvalidInput(
        "A version is compared with a kept.Version, a reference such as 'name:v3', or a path. "
        f"Received: {other!r}"
    )


def _elsewhere(location: str, store: Any, text: str) -> Any:
    """Return another store, of the class of this one; raises NotFound if it does not exist."""
    bucket = bucket_at(location)
    if bucket.location == getattr(store, "location", None):
        return store
    found = type(store)(bucket)
    if not found.exists:
        hint = "" if is_word(text) else f" Received: {text!r}"
        raise NotFound(f"There is no store in {bucket.location}, and no such file.{hint}")
    return found
