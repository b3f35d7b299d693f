"""kept sync: sends waiting checkpoints, or copies a store to another."""

from __future__ import annotations

from typing import Any, NamedTuple

import click

from kept.cli.common import json_option, opened, yes_option
from kept.cli.completion import artifact_names

_HELP = """Send what has not arrived yet, or copy from one store to another.

\b
kept sync                            sends the outbox to W&B or a remote store,
                                     and this store to its mirrors
kept sync --status                   lists that, and sends nothing
kept sync s3://bucket/prefix         copies this store to object storage
kept sync s3://bucket/prefix ./here  copies object storage to a folder

A checkpoint waits in the outbox until its destination has confirmed it: after a crash, an outage,
or a run in W&B's offline mode. Sync sends it to its run, in order, with its aliases, and never
twice. If a process still trains, sync leaves its checkpoints to it. If the destination rejects a
checkpoint (its name, its type, a changed file), the checkpoint stays in the outbox with the reason,
and later ones are sent. Each sync tries it again until you drop it.

Between stores, TARGET gets the versions of SOURCE that it lacks. Versions keep their numbers,
aliases and metadata, and deleted ones stay deleted. Only bytes that TARGET lacks are moved.

After an interruption, the next sync continues.
"""


class _Options(NamedTuple):
    artifact: str | None
    status: bool
    drop: bool
    yes: bool
    folder: str | None


@click.command(help=_HELP, short_help="Send waiting checkpoints, or copy a store to another.")
@click.argument("locations", metavar="[[SOURCE] TARGET]", nargs=-1)
@click.option(
    "--artifact", metavar="NAME", shell_complete=artifact_names, help="This artifact only."
)
@click.option("--status", is_flag=True, help="List what waits, and send nothing.")
@click.option(
    "--drop-refused", "drop", is_flag=True,
    help="Drop the checkpoints that their destination rejects; --status lists them.",
)  # fmt: skip
@yes_option
@click.option(
    "--outbox", "folder", metavar="FOLDER", envvar="KEPT_OUTBOX", show_envvar=True,
    help="The folder of checkpoints that wait. Default: ./kept-outbox.",
)  # fmt: skip
@json_option
@click.pass_obj
def sync(
    location: str | None, /, locations: tuple[str, ...], *, as_json: bool, **given: Any
) -> None:
    """Send what has not arrived yet, or copy from one store to another."""
    options = _Options(**given)
    if len(locations) > 2 or bool(locations) + options.status + options.drop > 1:
        raise click.UsageError(
            "Write `kept sync [[SOURCE] TARGET]`, `kept sync --status`, or `kept sync "
            "--drop-refused`."
        )
    if locations:
        source = locations[0] if len(locations) == 2 else location
        _copy(source, locations[-1], options.artifact, as_json=as_json)
    elif options.drop:
        from kept.cli.sync_status import drop_rejected

        drop_rejected(options.folder, options.artifact, yes=options.yes, as_json=as_json)
    elif options.status:
        from kept.cli.sync_status import print_status

        print_status(options.folder, location, options.artifact, as_json=as_json)
    else:
        from kept.cli.sync_send import send

        send(options.folder, location, options.artifact, as_json=as_json)


def _copy(source: str | None, target: str, artifact: str | None, *, as_json: bool) -> None:
    from kept.cli.output import print_json
    from kept.cli.sync_copy import copied_json, copy_artifacts, print_copied

    copied = copy_artifacts(opened(source), target, artifact)
    if as_json:
        print_json([copied_json(copied)])
    else:
        print_copied(copied)
