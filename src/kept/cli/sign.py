"""kept sign: signs a version."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened, print_result, version_json
from kept.cli.completion import references
from kept.cli.output import clean, local_time
from kept.errors import InvalidInput, NotSigned
from kept.progress import progress
from kept.store.problems import Problem

if TYPE_CHECKING:
    from kept.store.signing.statement import Signature
    from kept.store.store import Store
    from kept.store.version import Version

PASSWORD = "KEPT_KEY_PASSWORD"  # noqa: S105 - the name of a variable
signed_by_option = click.option(
    "--signed-by", multiple=True, metavar="FILE", type=click.Path(dir_okay=False),
    help="Require a signature by this public key (PEM); if given several times, by one of them.",
)  # fmt: skip


@click.command()
@click.argument("ref", shell_complete=references)
@click.option(
    "--key", required=True, metavar="FILE", type=click.Path(exists=True, dir_okay=False),
    help="The private key: an elliptic key such as P-256, in a PEM file.",
)  # fmt: skip
@json_option
@click.pass_obj
def sign(location: str | None, ref: str, key: str, *, as_json: bool) -> None:
    """Sign a version with a private key, after a check of every byte.

    The signature lies in the store. It covers the name, number, content, type and metadata of the
    version, and not its aliases. The password of an encrypted key is asked for, or taken from
    $KEPT_KEY_PASSWORD.
    """
    version = opened(location).version(ref)
    password = _password(key)
    with progress(f"Signing {version.reference}", "bytes") as moved:
        signature = version.sign(key, password=password, progress=moved)
    text = f"Signed {version.reference} with {clean(key)} (public key {signature.key_id[:16]}…)"
    shape = version_json(version) | signature_json(signature)
    print_result(text, shape, as_json=as_json)


def signature_json(signature: Signature) -> dict[str, Any]:
    """Return a signature as JSON."""
    return {"key_id": signature.key_id, "signed_at": signature.signed_at}


def signature_of(version: Version) -> bytes:
    """Return the signature of a version's files by a required key; raises NotSigned or Damaged."""
    from kept.store.signing.signatures import files_signature

    keys = version.store.required_keys
    if not keys:
        raise click.UsageError("--signature needs --signed-by, or KEPT_REQUIRE_SIGNED.")
    return files_signature(version.store.bucket, version.check_signed(keys))


class Checked:
    """Which versions have a valid signature by one of the keys, and which have none."""

    def __init__(self, store: Store, ref: str | None, signed_by: tuple[str, ...]) -> None:
        """Check the version that ref names, or all; raises InvalidInput or NotFound."""
        from kept.store.signing.keys import public_keys
        from kept.store.signing.signatures import has_same_history

        keys = public_keys(signed_by)
        self.signed: dict[str, tuple[Signature, bool]] = {}
        self.problems: list[Problem] = []
        each = (v for artifact in store.artifacts() for v in artifact.versions())
        for version in [store.version(ref)] if ref else each:
            try:
                signature = version.check_signed(keys)
            except NotSigned as error:
                message = str(error).removeprefix(f"{version.reference} ")
                self.problems.append(Problem(version.reference, message))
            else:
                log = version.store.log(version.name)
                self.signed[version.reference] = signature, has_same_history(log, signature)

    def print(self) -> None:
        """Print a line for each signed version."""
        for reference, (signature, same) in self.signed.items():
            history = "" if same else "; the log has changed since, or this is a mirror"
            when = local_time(signature.signed_at)
            click.echo(f"{reference}: signed {when} by {signature.key_id[:16]}…{history}")

    def json(self) -> list[dict[str, Any]]:
        """Return a shape for each signed version."""
        return [
            {"where": reference, **signature_json(signature), "same_history": same}
            for reference, (signature, same) in self.signed.items()
        ]


def _password(key: str) -> str | None:
    """Return the password of a private key, None if it is not encrypted."""
    if b"ENCRYPTED" not in Path(key).read_bytes():
        return None
    password = os.environ.get(PASSWORD)
    if password is None and sys.stdin.isatty():
        asked: str = click.prompt(f"Password of {clean(key)}", hide_input=True, err=True)
        return asked
    if password is None:
        raise InvalidInput(f"{key} is encrypted. Set ${PASSWORD}, or run this on a terminal.")
    return password
