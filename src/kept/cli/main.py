"""Starts the command `kept`, and prints its errors.

The user waits for the start at every call. So no module of the command imports anything slow at its
top: no rich, no Keras, and the store only when a verb needs it.
"""

from __future__ import annotations

import contextlib
import gc
import io
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

import kept
from kept.cli.output import clean
from kept.cli.waiting import waits_named
from kept.errors import Damaged, DamageWarning, InvalidInput, KeptError, NotFound, NotSigned

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPILOG = """\b
REF names a version: NAME:v3, NAME:ALIAS, NAME (its newest version)
or NAME@DIGEST (the first 8 or more hex digits).

\b
Exit codes:
  0    done
  1    any other error (no permission, disk full, not a store, …)
  2    wrong usage, or input that cannot be used
  3    no such store, artifact, version or alias
  4    damage found, or a required signature is missing or not valid
  130  interrupted
"""
# In the order of use. Each has a module of its name, which is imported when the user calls it.
_VERBS = (
    "ls", "show", "get", "put", "alias", "rm", "undelete", "prune", "ttl", "gc", "verify", "repair",
    "sign", "compact", "du", "sync", "completion",
)  # fmt: skip
_FEW_COLLECTIONS = 1_000_000
_DAMAGED = 4


class _Kept(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module = import_module(f"kept.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        with _damage_reported(ctx), waits_named():
            try:
                return super().invoke(ctx)
            except BrokenPipeError:
                raise  # the reader has ended; click exits silently
            except (KeptError, OSError) as error:
                click.echo(f"Error: {clean(_message(error))}", err=True)
                ctx.exit(_exit_code(error))
            except KeyboardInterrupt:
                click.echo("Interrupted.", err=True)
                ctx.exit(130)


@click.group(
    cls=_Kept,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--store",
    metavar="LOCATION",
    envvar="KEPT_STORE",
    show_envvar=True,
    help="The store: a folder, s3://, gs:// or az://. Default: ./kept-store.",
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


@contextlib.contextmanager
def _damage_reported(ctx: click.Context) -> Iterator[None]:
    """Print the damage that the command went around, after its output, and exit with 4 then."""
    found: dict[str, None] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DamageWarning)
        try:
            yield
        finally:
            damage = (w for w in caught if issubclass(w.category, DamageWarning))
            found.update((str(warning.message), None) for warning in damage)
            for text in found:
                click.echo(f"Damaged: {clean(text)}", err=True)
            if found:
                click.echo("To see what can be brought back: kept repair", err=True)
    if found:
        ctx.exit(_DAMAGED)


def _message(error: KeptError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__


def _exit_code(error: Exception) -> int:
    match error:
        case InvalidInput():
            return 2
        case NotFound():
            return 3
        case Damaged() | NotSigned():
            return _DAMAGED
    return 1
