"""kept cp: copies a version to another artifact, here or in another store."""

from __future__ import annotations

import click

from kept.cli.common import json_option, opened, print_result, version_json
from kept.cli.completion import references
from kept.progress import progress
from kept.units import size_text

_HELP = """Make the version REF the newest version of NAME, in this store or in another one.

\b
kept cp m:best candidates                  no byte is copied
kept cp m:v7 s3://team/store/candidates    only bytes that are missing there

Metadata, metrics, tags and description come along, and the copy names REF as its source.
Aliases and signatures do not: kept promote and kept sign give the copy its own.
"""


@click.command(help=_HELP, short_help="Copy a version to another artifact or store.")
@click.argument("ref", shell_complete=references)
@click.argument("target", metavar="[STORE/]NAME")
@json_option
@click.pass_obj
def cp(location: str | None, ref: str, target: str, *, as_json: bool) -> None:
    """Copy a version to another artifact or store."""
    from kept.store.signing.signatures import has_signatures

    source = opened(location)
    place, slash, name = target.rpartition("/")
    store = opened(place or "/", may_be_new=True) if slash else source
    version = source.version(ref)
    with progress(f"Copying {version.reference}", "bytes") as moved:
        copy = store.copy(version, name, progress=moved)
    where = f"{copy.reference} in {store.location}" if store is not source else copy.reference
    moved_text = size_text(copy.bytes_new or 0)
    text = f"{version.reference} is {where} now; {moved_text} copied"
    if not copy.is_new:
        text = f"{where} has the content of {version.reference} already"
    shape = version_json(copy) | {"is_new": copy.is_new, "bytes_new": copy.bytes_new}
    print_result(text, shape, as_json=as_json)
    if copy.is_new and has_signatures(source.bucket, version.name, version.index):
        note = f"Signatures are not copied. To sign the copy: kept sign {copy.reference}"
        click.echo(note, err=True)
