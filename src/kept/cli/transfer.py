"""kept get and kept put: files out of the store, and into it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import files_shape, json_option, opened, version_shape
from kept.cli.completion import artifact_names, references
from kept.cli.output import clean, counted, print_json, size_text
from kept.names import check_name
from kept.progress import progress

if TYPE_CHECKING:
    from kept.store.version import Version

_FILES_SHOWN = 20


@click.command()
@click.argument("ref", shell_complete=references)
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(file_okay=False))
@json_option
@click.pass_obj
def get(location: str | None, ref: str, directory: str | None, *, as_json: bool) -> None:
    """Write a version's files below DIR, every byte checked.

    DIR is ./NAME-vN if it is not given. Files of the same names there are replaced.
    """
    version = opened(location).version(ref)
    target = directory or f"{version.name}-{version.version}"
    with progress(f"Getting {version.reference}", "bytes") as moved:
        version.download(target, progress=moved)
    if as_json:
        where = {"directory": os.path.abspath(target), "files": files_shape(version)}
        print_json(version_shape(version) | where)
    else:
        _print_files(version, target)


def _print_files(version: Version, target: str) -> None:
    files = version.files
    held = f"{counted(len(files), 'file')}, {size_text(version.size)}"
    click.echo(f"{version.reference} is in {clean(os.path.join(target, ''))} ({held}):")
    for file in files[:_FILES_SHOWN]:
        click.echo(clean(os.path.join(target, file.path)))
    if len(files) > _FILES_SHOWN:
        click.echo(f"… and {len(files) - _FILES_SHOWN} more")


def _key_and_value(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    metadata = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"Write it as KEY=VALUE. Received: {text!r}")
        metadata[key] = _json_or_text(value)
    return metadata


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@click.command()
@click.argument("name", shell_complete=artifact_names)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
@click.option("--type", default="model", show_default=True, help="What the artifact is.")
@click.option(
    "aliases", "-a", "--alias", multiple=True, metavar="ALIAS",
    help="Put an alias on the version; may be given several times.",
)  # fmt: skip
@click.option(
    "-m", "--metadata", multiple=True, metavar="KEY=VALUE", callback=_key_and_value,
    help="Keep a value with the version, JSON or else text; may be given several times.",
)  # fmt: skip
@json_option
@click.pass_obj
def put(  # noqa: PLR0913 (one for each argument and option)
    location: str | None,
    name: str,
    paths: tuple[str, ...],
    *,
    type: str,
    aliases: tuple[str, ...],
    metadata: dict[str, Any],
    as_json: bool,
) -> None:
    """Store files and folders as a new version of an artifact.

    A path is stored under its own name: a/b/f becomes f, and a folder keeps what is below it.
    Content identical to the newest version makes no new version; the aliases move to that one.
    """
    store = opened(location, may_be_new=True)
    check_name(name)
    with progress(f"Storing {name}", "bytes") as moved:
        version = store.log_artifact(
            name, paths, type=type, aliases=aliases, metadata=metadata, progress=moved
        )
    if as_json:
        new = {"is_new": version.is_new, "bytes_new": version.bytes_new}
        print_json(version_shape(version) | new)
    else:
        _print_put(version)


def _print_put(version: Version) -> None:
    if version.is_new:
        amount = (
            f"{size_text(version.size)}, {size_text(version.bytes_new or 0)} of it new to the store"
        )
        click.echo(f"{version.reference} ({', '.join(version.aliases)}): {amount}")
    else:
        click.echo(f"Nothing new: {version.reference} ({', '.join(version.aliases)}) is the same")
