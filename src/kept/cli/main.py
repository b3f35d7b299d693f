"""Starts the command `kept`.

The user waits for the start at every call. So no module of the command imports anything slow at its
top: no rich, no Keras, and the store only when a verb needs it.
"""

from __future__ import annotations

import gc
import io
import sys

import click

import kept
from kept.cli.errors import EXIT_CODES
from kept.cli.group import VerbGroup

_EPILOG = f"""\b
REF names a version: NAME:v3, NAME:ALIAS, NAME (its newest version)
or NAME@DIGEST (the first 8 or more hex digits).

{EXIT_CODES}
\b
With --json, an error is one line of JSON, the last one on stderr:
{{"error": {{"type": …, "message": …, "exit_code": …, "damage": [...]}}}}
"""
# Each has a module of its name, which is imported when the user calls it. group.py has their order.
_VERBS = (
    "ls", "show", "log", "lineage", "get", "put", "alias", "promote", "rollback", "protect", "rm",
    "undelete", "prune", "ttl", "gc", "verify", "repair", "sign", "compact", "du", "plot", "sync",
    "watch", "completion", "mv", "cp",
    "tag", "note", "metric", "best", "evaluate", "ui", "import", "export", "diff",
)  # fmt: skip
_FEW_COLLECTIONS = 1_000_000


@click.group(
    cls=VerbGroup,
    verbs=_VERBS,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--store",
    metavar="LOCATION",
    envvar="KEPT_STORE",
    show_envvar=True,
    help="The store: a folder, s3://, gs:// or az://. Default: the folder ./kept-store. To move a "
    "store, move its folder, and set KEPT_STORE to the new place.",
)
@click.version_option(kept.__version__, prog_name="kept", help="Show the version of kept.")
@click.pass_context
def cli(ctx: click.Context, store: str | None) -> None:
    """List, fetch, name, check and delete the checkpoints of a store."""
    ctx.obj = store


def main() -> None:
    """Run the command, and exit with its code."""
    # The objects of a command live until it ends. Searching them for garbage takes a tenth of the
    # time of a long listing.
    gc.set_threshold(_FEW_COLLECTIONS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals without UTF-8
    try:
        cli(prog_name="kept")
    finally:
        gc.freeze()  # so that the exit searches nothing either
