"""The one hash of the format: BLAKE3, 32 bytes, written as 64 lower-case hex digits."""

from __future__ import annotations

import re

from blake3 import blake3

Hasher = blake3  # takes the data in pieces: update, hexdigest
_PIECE = 1 << 20
DIGEST = re.compile(r"[0-9a-f]{64}")


def digest(data: bytes | bytearray | memoryview) -> str:
    """Return the BLAKE3 digest of data as 64 hex digits."""
    return blake3(data).hexdigest()


def file_digest(path: str) -> str:
    """Return the digest of a file, which is read in pieces; raises OSError."""
    hasher = blake3()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
    return hasher.hexdigest()
