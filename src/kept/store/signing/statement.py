"""What a signature says of a version, and the strict reader of stored signatures.

A stored signature is `{"bundle": …, "statement": …}`. The statement names the version: its artifact
and number, its content, and its record in the log. The bundle is a signature of OpenSSF model
signing, of a folder that holds the canonical statement as its only file.

The same keys sign the content of versions. The folder's name distinguishes statements from content:
no artifact has a space in its name. The bundle has exactly one form, and the reader rebuilds it
from its checked parts. So model_signing verifies exactly what was checked here.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import DIGEST, digest
from kept.errors import Damaged
from kept.store.encoding import Json, canonical, parse

if TYPE_CHECKING:
    from kept.bucket.base import Buffer
    from kept.store.log.history import VersionRecord

FILE = "statement.json"
_FORMAT = 1  # of a statement
FOLDER = "kept version statement"
LIMIT = 64 * 1024  # bytes of a stored signature
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_DIGESTS = ("digest", "manifest", "metadata", "model_signature")
_PLACES = ("record", "head")


class Signature(NamedTuple):
    """A signature of a version, as it is stored; it is genuine only if its key says so."""

    statement: dict[str, Json]
    bundle: dict[str, Json]

    def __repr__(self) -> str:
        name, index = self.statement["artifact"], self.statement["index"]
        return f"<kept.Signature of {name}:v{index} by {self.key_id[:16]}… at {self.signed_at}>"

    @property
    def key_id(self) -> str:
        """Which public key to verify it with: the SHA-256 of its PEM form."""
        return str(self.bundle["verificationMaterial"]["publicKey"]["hint"])

    @property
    def signed_at(self) -> str:
        """When the signer made it, by the signer's clock; UTC, ISO 8601."""
        return str(self.statement["signed_at"])

    def encode(self) -> bytes:
        """Return it as it is stored."""
        return canonical(self._asdict())


def facts_of(name: str, record: VersionRecord) -> dict[str, Json]:
    """Return the facts of a version that never change, in any store that has it.

    Raises Damaged.
    """
    try:
        metadata = digest(canonical(record.metadata))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"The metadata of {name}:v{record.index} is not valid: {error}") from None
    return {
        "artifact": name,
        "created_at": record.created_at,
        "digest": record.digest,
        "format": _FORMAT,
        "index": record.index,
        "manifest": record.manifest,
        "metadata": metadata,
        "size": record.size,
        "type": record.type,
    }


def differences(statement: dict[str, Json], facts: dict[str, Json]) -> list[str]:
    """Return the names of the facts that the statement states differently."""
    return [name for name, value in facts.items() if statement[name] != value]


def from_bundle(statement: dict[str, Json], bundle: bytes) -> Signature:
    """Return the signature that model_signing has made of a statement."""
    return Signature(statement, _normal_form(parse(bundle, "The new signature")))


def read_signature(data: Buffer, key: str) -> Signature:
    """Read a stored signature, and check its form; raises Damaged.

    Only a public key can say whether the signature is genuine.
    """
    if len(data) > LIMIT:
        raise Damaged(f"{key} is larger than a signature: expected at most {LIMIT} bytes")
    value = parse(data, key)
    try:
        signature = Signature(value["statement"], value["bundle"])
        _check_form(signature, value, data)
        _check_statement(signature.statement)
        _check_payload(signature, key)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise Damaged(f"{key} is no signature: {error}") from None
    return signature


def _check_form(signature: Signature, value: Json, data: Buffer) -> None:
    if canonical(value) != bytes(data):
        raise ValueError("it is not canonical JSON")
    if _normal_form(signature.bundle) != signature.bundle:
        raise ValueError("its bundle has other fields than expected")


def _check_statement(statement: Json) -> None:
    if type(statement) is not dict:
        raise ValueError("its statement is no object")
    for name in _DIGESTS:
        _check_digest(statement[name], name)
    for name in _PLACES:
        _check_number(statement[name]["number"], f"{name}.number")
        _check_digest(statement[name]["blake3"], f"{name}.blake3")
    for name in ("format", "index", "size"):
        _check_number(statement[name], name)
    for name in ("artifact", "type", "created_at", "signed_at"):
        if type(statement[name]) is not str:
            raise ValueError(f"{name} is {statement[name]!r}")
    if datetime.fromisoformat(statement["signed_at"]).tzinfo is None:
        raise ValueError(f"signed_at is {statement['signed_at']!r}")


def _check_digest(value: Json, name: str) -> None:
    if type(value) is not str or not DIGEST.fullmatch(value):
        raise ValueError(f"{name} is {value!r}")


def _check_number(value: Json, name: str) -> None:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{name} is {value!r}")


def _normal_form(bundle: Json) -> dict[str, Json]:
    """Return a bundle with one key and the needed fields only; raises ValueError and others."""
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    envelope = bundle["dsseEnvelope"]
    payload, [signature] = envelope["payload"], envelope["signatures"]
    _check_digest(hint, "hint")
    for value in (payload, signature["sig"]):
        base64.b64decode(value, validate=True)
    return {
        "dsseEnvelope": {
            "payload": payload,
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"keyid": "", "sig": signature["sig"]}],
        },
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
    }


def _check_payload(signature: Signature, key: str) -> None:
    """Raise ValueError or Damaged unless the signed bytes are about exactly this statement."""
    encoded = signature.bundle["dsseEnvelope"]["payload"]
    payload = parse(base64.b64decode(encoded), f"What {key} signs")
    content = hashlib.sha256(canonical(signature.statement))
    root = hashlib.sha256(content.digest())
    found = (
        payload["_type"],
        payload["predicateType"],
        payload["subject"],
        payload["predicate"]["resources"],
    )
    expected = (
        _STATEMENT_TYPE,
        _PREDICATE_TYPE,
        [{"name": FOLDER, "digest": {"sha256": root.hexdigest()}}],
        [{"algorithm": "sha256", "digest": content.hexdigest(), "name": FILE}],
    )
    if found != expected:
        raise ValueError("its signed bytes are not about its statement")
