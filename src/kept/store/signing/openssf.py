"""OpenSSF model signing, with elliptic keys. The one module that imports model_signing.

It signs a folder: the name and SHA-256 of each file. It uses no network and no transparency log.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput, NotSigned

if TYPE_CHECKING:
    from kept.store.signing.keys import KeyFile, PublicKey

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MISSING = (
    "Signatures need the package model-signing, and pyOpenSSL, which it uses. Install both: "
    "pip install 'kept[sign]'"
)


def load_private_key(path: KeyFile, password: str | None) -> Any:
    """Return the private key in a PEM file; raises InvalidInput or OSError."""
    _api("signing")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = Path(path).read_bytes()
    secret = password.encode() if password else None
    try:
        key = load_pem_private_key(pem, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            f"The private key cannot be read: {error}. Expected a PEM file. "
            f"Received: {os.fspath(path)!r}"
        ) from None
    _check_curve(key, os.fspath(path))
    return key


def public_of(private_key: Any) -> bytes:
    """Return the PEM form of the public key that belongs to a private key."""
    return _pem(private_key.public_key())


def key_id(key: PublicKey) -> str:
    """Return the name that a signature has for a key; raises InvalidInput."""
    _api("signing")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        found = load_pem_public_key(key.pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            f"The public key cannot be read: {error}. Received: {key.path!r}"
        ) from None
    _check_curve(found, key.path)
    return hashlib.sha256(_pem(found)).hexdigest()


def sign_folder(folder: Path, private_key: KeyFile, password: str | None) -> bytes:
    """Return the signature of all files below a folder, in the form of model_signing."""
    # model_signing 1.1.1 documents a str, and passes it on to a function that needs bytes.
    secret: Any = password.encode() if password else None
    config = _api("signing").Config().set_hashing_config(_hashing())
    config.use_elliptic_key_signer(private_key=private_key, password=secret)
    with tempfile.TemporaryDirectory(prefix="kept-") as place:
        target = Path(place) / "model.sig"
        config.sign(folder, target)
        return target.read_bytes()


def verify_folder(folder: Path, signature: bytes, key: PublicKey) -> None:
    """Raise NotSigned unless the signature is of all files below a folder, and by the key."""
    from cryptography.exceptions import InvalidSignature

    with tempfile.TemporaryDirectory(prefix="kept-") as place:
        public, target = Path(place) / "public.pem", Path(place) / "model.sig"
        public.write_bytes(key.pem)
        target.write_bytes(signature)
        config = _api("verifying").Config().set_hashing_config(_hashing())
        config.use_elliptic_key_verifier(public_key=public)
        try:
            config.verify(folder, target)
        except InvalidSignature:
            raise NotSigned(f"the key {key.path} has not made the signature") from None
        except (LookupError, TypeError, ValueError) as error:
            raise NotSigned(f"model_signing rejects the signature: {error}") from None


def _hashing() -> Any:
    every_file = _api("hashing").Config().set_ignored_paths(paths=[], ignore_git_paths=False)
    return every_file.use_file_serialization(hashing_algorithm="sha256")


def _api(name: str) -> Any:
    """Return a module of model_signing's stable interface; raises InvalidInput if it is missing."""
    try:
        return import_module(f"model_signing.{name}")
    except ImportError as error:
        raise InvalidInput(f"{_MISSING}. ({error})") from None


def _check_curve(key: Any, path: str) -> None:
    curve = getattr(getattr(key, "curve", None), "name", None)
    if curve not in _CURVES:
        raise InvalidInput(
            "Expected an elliptic key on the curve P-256, P-384 or P-521, found "
            f"{curve or type(key).__name__}. Make one with: openssl ecparam -name prime256v1 "
            f"-genkey -noout -out private.pem. Received: {path!r}"
        )


def _pem(public: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem
