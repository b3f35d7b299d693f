"""kept ttl: lets a version expire."""

from __future__ import annotations

import click

from kept.cli.common import json_option, opened, print_result, version_json
from kept.cli.completion import references
from kept.cli.output import local_time


@click.command()
@click.argument("ref", shell_complete=references)
@click.argument("time", required=False)
@click.option("--remove", is_flag=True, help="Never let it expire.")
@json_option
@click.pass_obj
def ttl(location: str | None, ref: str, time: str | None, *, remove: bool, as_json: bool) -> None:
    """Let a version expire after TIME from now: 7d, 12h, 30min.

    The next prune or gc deletes expired versions, except those that prune never deletes.
    """
    if remove == (time is not None):
        raise click.UsageError("Write `kept ttl REF TIME` or `kept ttl --remove REF`.")
    version = opened(location).set_ttl(ref, time)
    expires = version.record.expires
    text = f"expires {local_time(expires)}" if expires else "never expires"
    shape = version_json(version) | {"expires": expires}
    print_result(f"{version.reference} {text}", shape, as_json=as_json)
