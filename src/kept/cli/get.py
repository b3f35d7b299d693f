"""kept get: writes the files of a version to a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kept.cli.common import files_json, json_option, opened, version_json
from kept.cli.completion import references
from kept.cli.output import clean, print_json
from kept.cli.sign import signature_of, signed_by_option
from kept.progress import progress
from kept.units import counted, size_text

if TYPE_CHECKING:
    from kept.store.version import Version

_FILES_SHOWN = 20


@click.command()
@click.argument("ref", shell_complete=references)
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(file_okay=False))
@signed_by_option
@click.option(
    "--signature", metavar="FILE", type=click.Path(dir_okay=False),
    help="Also write the signature of the files, for the command model_signing.",
)  # fmt: skip
@json_option
@click.pass_obj
def get(  # noqa: PLR0913 - its options
    location: str | None,
    ref: str,
    directory: str | None,
    *,
    signed_by: tuple[str, ...],
    signature: str | None,
    as_json: bool,
) -> None:
    """Write a version's files below DIR, and check every byte.

    Without DIR they go to ./NAME-vN. Existing files of the same names are replaced.
    """
    store = opened(location, require_signed=signed_by or None)
    version = store.version(ref)
    of_files = signature_of(version) if signature else b""
    target = directory or f"{version.name}-{version.version}"
    with progress(f"Getting {version.reference}", "bytes") as moved:
        version.download(target, progress=moved)
    if signature:
        Path(signature).write_bytes(of_files)
    if as_json:
        place = {"directory": os.path.abspath(target), "files": files_json(version)}
        print_json(version_json(version) | place)
    else:
        _print_files(version, target)


def _print_files(version: Version, target: str) -> None:
    files = version.files
    amount = f"{counted(len(files), 'file')}, {size_text(version.size)}"
    click.echo(f"{version.reference} is in {clean(os.path.join(target, ''))} ({amount}):")
    for file in files[:_FILES_SHOWN]:
        click.echo(clean(os.path.join(target, file.path)))
    if len(files) > _FILES_SHOWN:
        click.echo(f"… and {len(files) - _FILES_SHOWN} more")
