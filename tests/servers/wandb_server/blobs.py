"""The bytes: stored under their MD5, which is checked on receipt; URLs carry their own permission.

As with object storage, a client that has a URL may use it without credentials for its purpose: one
key, one method, and when uploading one digest.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_PIECE = 1 << 20


class BadDigest(Exception):
    """What arrived is not what was announced; nothing is stored."""


class Blobs:
    """Blobs in a folder, by the hex digits of their MD5."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._secret = secrets.token_bytes(16)
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, md5: str) -> bool:
        return self.path(md5).exists()

    def path(self, md5: str) -> Path:
        return self._folder / md5

    def size(self, md5: str) -> int:
        return self.path(md5).stat().st_size

    def url_path(self, method: str, key: str) -> str:
        """Return a path, with its permission, for PUT or GET of a key."""
        return f"/storage/{key}?signature={self._sign(method, key)}"

    def permits(self, method: str, key: str, signature: str) -> bool:
        return hmac.compare_digest(signature, self._sign(method, key))

    def receive(self, stream: BinaryIO, md5: str, check: Callable[[int], None]) -> None:
        """Store a stream; call check with the bytes so far after each piece. Raises BadDigest."""
        temporary = self._folder / f"tmp-{secrets.token_hex(8)}"
        digest, received = hashlib.md5(usedforsecurity=False), 0
        try:
            with temporary.open("xb") as file:
                while piece := stream.read(_PIECE):
                    file.write(piece)
                    digest.update(piece)
                    received += len(piece)
                    check(received)
            if digest.hexdigest() != md5:
                raise BadDigest(f"{received} bytes of MD5 {digest.hexdigest()}, announced {md5}")
            os.replace(temporary, self.path(md5))
        finally:
            temporary.unlink(missing_ok=True)

    def join(self, parts: Iterable[str]) -> str:
        """Make one blob of several, which go; return its MD5."""
        temporary = self._folder / f"tmp-{secrets.token_hex(8)}"
        digest = hashlib.md5(usedforsecurity=False)
        paths = [self.path(md5) for md5 in parts]
        with temporary.open("xb") as file:
            for path in paths:
                data = path.read_bytes()  # of a part, 100 MiB in the SDK
                file.write(data)
                digest.update(data)
        os.replace(temporary, self.path(digest.hexdigest()))
        for path in set(paths):
            path.unlink()
        return digest.hexdigest()

    def _sign(self, method: str, key: str) -> str:
        return hmac.new(self._secret, f"{method} {key}".encode(), "sha256").hexdigest()


def hex_md5(text: str) -> str:
    """Return 32 hex digits for those or for base64 of 16 bytes."""
    return text if len(text) == 32 else base64.b64decode(text).hex()
