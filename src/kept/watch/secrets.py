"""Signs webhooks as Standard Webhooks says, so that a receiver knows who sent them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

from kept.errors import InvalidInput

SECRET_VARIABLE = "KEPT_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
_PREFIX = "whsec_"
_SHORTEST = 16  # bytes


def secrets_in(path: str | None) -> list[bytes]:
    """Return the keys in a file, or in $KEPT_WEBHOOK_SECRET; several are separated by spaces.

    A key is whsec_ and base64, as Standard Webhooks has it; any other text stands for its bytes.
    Raises InvalidInput, without the secret in its message, or OSError.
    """
    place = path or f"${SECRET_VARIABLE}"
    if path is None:
        text = os.environ.get(SECRET_VARIABLE, "")
    else:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if not text.split():
            raise InvalidInput(f"{place} holds no secret. Write one line: whsec_ and base64.")
    return [_key(word, place) for word in text.split()]


def _key(word: str, place: str) -> bytes:
    if not word.startswith(_PREFIX):
        key = word.encode()
    else:
        try:
            key = base64.b64decode(word.removeprefix(_PREFIX), validate=True)
        except ValueError:  # binascii.Error is one, and other characters than ASCII make one
            raise InvalidInput(
                f"The secret in {place} begins with {_PREFIX}, and what follows is no base64."
            ) from None
    if len(key) < _SHORTEST:
        raise InvalidInput(
            f"The secret in {place} has {len(key)} bytes; expected {_SHORTEST} or more. To make "
            f'one: echo "{_PREFIX}$(openssl rand -base64 24)"'
        )
    return key


def signatures(keys: list[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header webhook-signature: one signature for each key."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    macs = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)
