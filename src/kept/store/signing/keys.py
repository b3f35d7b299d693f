"""The public keys whose signatures a store requires. Loads no cryptography."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import InvalidInput

VARIABLE = "KEPT_REQUIRE_SIGNED"
_BEGIN = b"-----BEGIN PUBLIC KEY-----"
_LIMIT = 16 * 1024  # bytes of a key file


class PublicKey(NamedTuple):
    """A public key, read once, so that a later change of its file or folder has no effect."""

    path: str  # for messages
    pem: bytes


if TYPE_CHECKING:
    from collections.abc import Iterable

    KeyFile = str | os.PathLike[str]
    Keys = KeyFile | Iterable[KeyFile] | Iterable[PublicKey]


def public_keys(given: Keys) -> tuple[PublicKey, ...]:
    """Read one file of a public key, or several; raises InvalidInput."""
    paths = [given] if isinstance(given, (str, os.PathLike)) else list(given)
    if not paths:
        raise InvalidInput("Pass at least one file of a public key. Received: none")
    return tuple(p if isinstance(p, PublicKey) else _read(os.fspath(p)) for p in paths)


def required_keys(given: Keys | None) -> tuple[PublicKey, ...]:
    """Read the given keys, or those in $KEPT_REQUIRE_SIGNED; none if neither is set.

    The variable has paths with the separator of $PATH between them. Raises InvalidInput.
    """
    if given is not None:
        return public_keys(given)
    value = os.environ.get(VARIABLE)
    return public_keys(value.split(os.pathsep)) if value else ()


def _read(path: str) -> PublicKey:
    try:
        with open(path, "rb") as file:
            pem = file.read(_LIMIT)
    except OSError as error:
        raise InvalidInput(
            f"The public key cannot be read: {error.strerror}. Received: {path!r}"
        ) from None
    if _BEGIN not in pem:
        raise InvalidInput(
            "The file holds no public key. Expected a PEM file that begins with "
            f"{_BEGIN.decode()}. Received: {path!r}"
        )
    return PublicKey(path, pem)
