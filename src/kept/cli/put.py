"""kept put: stores files and folders as a version."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened, print_result, version_json
from kept.cli.completion import artifact_names, references
from kept.cli.output import clean
from kept.names import check_name, check_own_alias
from kept.progress import progress
from kept.store.orbax.log_orbax import log_orbax
from kept.store.orbax.steps import find_steps
from kept.store.origin.links import Source
from kept.store.promotion.protected import withheld_text
from kept.units import size_text

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.store.version import Version


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
@click.argument("paths", metavar="PATH...", nargs=-1, type=click.Path())
@click.option("--type", default="model", show_default=True, help="The type of the artifact.")
@click.option(
    "aliases", "-a", "--alias", multiple=True, metavar="ALIAS",
    help="Put an alias on the version; can be given several times.",
)  # fmt: skip
@click.option(
    "-m", "--metadata", multiple=True, metavar="KEY=VALUE", callback=_key_and_value,
    help="Add metadata to the version, JSON or else text; can be given several times.",
)  # fmt: skip
@click.option(
    "--uses", multiple=True, metavar="REF", shell_complete=references,
    help="What the version is made from: NAME:v3 of this store, or LOCATION/NAME:v3 of another; "
    "can be given several times.",
)  # fmt: skip
@click.option(
    "--source", "sources", multiple=True, nargs=2, metavar="URI DIGEST",
    help="The same for data that is in no store, with a digest such as sha256:9f86…; can be given "
    "several times.",
)  # fmt: skip
@click.option(
    "--capture/--no-capture", default=True,
    help="Record where the version comes from: code, command line, packages and host.",
)  # fmt: skip
@click.option(
    "--orbax", is_flag=True,
    help="PATH is a folder of steps of Orbax; each finished step becomes a version, once.",
)  # fmt: skip
@json_option
@click.pass_obj
def put(
    location: str | None,
    /,
    name: str,
    paths: tuple[str, ...],
    *,
    orbax: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Store files and folders as a new version of an artifact.

    Each path is stored under its last name: a/b/f becomes f, and a folder keeps its files below it.
    Content identical to the newest version makes no new version; the aliases move to that one.
    """
    if not paths:
        looks_like_path = os.path.exists(name)
        hint = f" Name the artifact first: kept put NAME {name}" if looks_like_path else ""
        raise click.UsageError(f"Missing argument 'PATH...'.{hint}")
    store = opened(location, may_be_new=True)
    check_name(name)
    sources = [Source(uri, digest) for uri, digest in options.pop("sources")]
    options["uses"] = [*options["uses"], *sources]
    for alias in options["aliases"]:
        check_own_alias(alias)
    if orbax:
        _put_steps(store, name, paths, options, as_json=as_json)
        return
    with progress(f"Storing {name}", "bytes") as moved:
        version = store.log_artifact(name, paths, progress=moved, **options)
    new = {"is_new": version.is_new, "bytes_new": version.bytes_new}
    print_result(_text(version), version_json(version) | new, as_json=as_json)


def _put_steps(
    store: Store, name: str, paths: tuple[str, ...], options: dict[str, Any], *, as_json: bool
) -> None:
    defaults = {"type": "model", "aliases": (), "metadata": {}, "uses": [], "capture": True}
    if len(paths) != 1 or options != defaults:
        raise click.UsageError(
            "--orbax takes one PATH, and no --type, --alias, --metadata, --uses, --source or "
            "--no-capture"
        )
    new = log_orbax(paths[0], name, store)
    for folder in find_steps(paths[0]).unfinished:
        click.echo(f"Not taken, because Orbax has not finished it: {clean(folder)}", err=True)
    if withheld := sorted({alias for version in new for alias in version.withheld}):
        click.echo(f"Note: {clean(withheld_text(name, withheld, store.location))}", err=True)
    lines = list(map(_text, new)) or [f"Nothing new: {name} has had every finished step"]
    print_result(lines, [version_json(version) for version in new], as_json=as_json)


def _text(version: Version) -> str:
    label = f"{version.reference} ({', '.join(version.aliases)})"
    if not version.is_new:
        return f"Nothing new: {label} has the same content"
    return f"{label}: {size_text(version.size)}, {size_text(version.bytes_new or 0)} of it new"
