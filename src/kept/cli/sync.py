"""kept sync: sends waiting checkpoints, or copies a store to another."""

from __future__ import annotations

import re
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
aliases and metadata, and deleted ones stay deleted. Only bytes that TARGET lacks are moved. If both
stores have moved an alias, the later move counts in both.

If both stores have committed versions of an artifact, it has diverged, and nothing is copied. Then:

\b
--artifact NAME --as NEW   copies it to the artifact NEW in TARGET
--artifact NAME --ours     SOURCE's versions become those of NAME in TARGET
--artifact NAME --theirs   TARGET's versions become those of NAME in SOURCE

With --ours and --theirs, the versions that NAME had are renamed first: to NAME-2, or the name that
--as gives. Nothing is deleted. No process may write to NAME there meanwhile.

After an interruption, the next sync continues. --forget MIRROR ends that this store waits for a
mirror that will not come back: nothing is sent there, and retention asks it no longer. End runs
that mirror there first: a running fit counts the mirror again with its next save.
"""


def _checked_url(_: click.Context, __: click.Parameter, url: str | None) -> str | None:
    if url is not None and not re.fullmatch(r"https?://[^\s/]+\S*", url):
        raise click.BadParameter(f"a URL begins with https:// or http://. Received: {url!r}")
    return url and url.rstrip("/")


class _Options(NamedTuple):
    artifact: str | None
    base_url: str | None
    status: bool
    drop: bool
    yes: bool
    folder: str | None
    new_name: str | None
    ours: bool
    theirs: bool
    forgotten: str | None

    @property
    def resolves(self) -> bool:
        """Whether an artifact is copied to another name, or a divergence is resolved."""
        return self.new_name is not None or self.ours or self.theirs


@click.command(help=_HELP, short_help="Send waiting checkpoints, or copy a store to another.")
@click.argument("locations", metavar="[[SOURCE] TARGET]", nargs=-1)
@click.option(
    "--artifact", metavar="NAME", shell_complete=artifact_names, help="This artifact only."
)
@click.option(
    "--base-url", metavar="URL", callback=_checked_url,
    help="The server of W&B that gets what waits for W&B. Default: the one that it was saved for, "
    "or $WANDB_BASE_URL for offline runs, or if that server does not answer.",
)  # fmt: skip
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
@click.option(
    "--as", "new_name", metavar="NEW",
    help="Copy to this name; with --ours or --theirs: the new name of the other versions.",
)  # fmt: skip
@click.option("--ours", is_flag=True, help="If the stores diverged, continue with SOURCE's.")
@click.option("--theirs", is_flag=True, help="If the stores diverged, continue with TARGET's.")
@click.option(
    "--forget", "forgotten", metavar="MIRROR", help="Do not count MIRROR as a mirror any longer."
)
@json_option
@click.pass_obj
def sync(
    location: str | None, /, locations: tuple[str, ...], *, as_json: bool, **given: Any
) -> None:
    """Send what has not arrived yet, or copy from one store to another."""
    options = _Options(**given)
    forgets = options.forgotten is not None
    if len(locations) > 2 or bool(locations) + options.status + options.drop + forgets > 1:
        raise click.UsageError(
            "Write `kept sync [[SOURCE] TARGET]`, `kept sync --status`, `kept sync "
            "--drop-refused`, or `kept sync --forget MIRROR`."
        )
    if options.base_url and (locations or options.status or options.drop or forgets):
        raise click.UsageError("--base-url is for sending to W&B: kept sync --base-url URL.")
    _check_resolving(options, locations)
    if locations:
        source = locations[0] if len(locations) == 2 else location
        _copy(source, locations[-1], options, as_json=as_json)
    elif options.forgotten is not None:
        from kept.cli.sync_forget import forget

        name, yes = options.artifact, options.yes
        forget(location, options.forgotten, name, yes=yes, as_json=as_json)
    elif options.drop:
        from kept.cli.sync_status import drop_rejected

        drop_rejected(options.folder, options.artifact, yes=options.yes, as_json=as_json)
    elif options.status:
        from kept.cli.sync_status import print_status

        print_status(options.folder, location, options.artifact, as_json=as_json)
    else:
        from kept.cli.sync_send import send

        base_url, name = options.base_url, options.artifact
        send(options.folder, location, name, base_url=base_url, as_json=as_json)


def _check_resolving(options: _Options, locations: tuple[str, ...]) -> None:
    """Raise UsageError unless --as, --ours and --theirs have what they need."""
    if options.resolves and not (locations and options.artifact):
        raise click.UsageError("--as, --ours and --theirs need a TARGET and --artifact NAME.")
    if options.ours and options.theirs:
        raise click.UsageError("Pass --ours or --theirs, not both.")


def _copy(source: str | None, target: str, options: _Options, *, as_json: bool) -> None:
    from kept.cli.sync_copy import copy_artifacts, print_copies

    if options.resolves:
        from kept.cli.sync_resolve import copy_as, resolve

        assert options.artifact, "it was checked"
        if options.ours or options.theirs:
            names = options.artifact, options.new_name
            copied = resolve(source, target, names, ours=options.ours, yes=options.yes)
        else:
            copied = copy_as(source, target, options.artifact, str(options.new_name))
    else:
        copied = copy_artifacts(opened(source), target, options.artifact)
    print_copies([copied], as_json=as_json)
