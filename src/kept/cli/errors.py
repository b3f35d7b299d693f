"""Prints the errors of the command, as a line for people or as JSON, and knows their exit codes.

With --json, an error is the last line of stderr: one JSON object, with the key "error". stdout has
the document of the command or nothing.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from typing import TYPE_CHECKING

import click

from kept.cli.output import clean
from kept.errors import (
    ConditionNotMet,
    Damaged,
    DamageWarning,
    InvalidInput,
    KeptError,
    NotFound,
    NotSigned,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXIT_CODES = """\b
Exit codes:
  0    done
  1    any other error (no permission, disk full, not a store, …)
  2    wrong usage, or input that cannot be used
  3    no such store, artifact, version or alias
  4    damage found, or a required signature is missing or not valid
  5    a version does not fulfil the condition of its promotion
  130  interrupted
"""
_USAGE = 2
_DAMAGED = 4
_INTERRUPTED = 130
_SEVERAL_LINES = ("InvalidCondition", "CommandFailed")  # they show a text; others are one line
# In the meta of a context:
_AS_JSON = "kept.cli.errors.as_json"
_CAUGHT = "kept.cli.errors.caught"


def note_json(ctx: click.Context, args: Sequence[str]) -> None:
    """Note whether the arguments ask for JSON, which counts for errors of the parser too."""
    own = args[: args.index("--")] if "--" in args else args
    ctx.meta[_AS_JSON] = "--json" in own


@contextlib.contextmanager
def errors_printed(ctx: click.Context) -> Iterator[None]:
    """Print an error of kept or the system, or an interruption, and exit with its code.

    What the user has written wrong is left to click, except with --json.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has ended; click exits silently
    except (KeptError, OSError) as error:
        _exit(ctx, type(error).__name__, _message(error), exit_code(error))
    except click.Abort:
        if not ctx.meta[_AS_JSON]:
            raise  # click prints that
        click.echo(err=True)  # after the question
        _exit(ctx, "Aborted", "Aborted: the question was not answered with yes.", 1)
    except KeyboardInterrupt:
        _exit(ctx, "Interrupted", "Interrupted.", _INTERRUPTED)


@contextlib.contextmanager
def usage_explained(ctx: click.Context) -> Iterator[None]:
    """Add a hint to an unknown option, and with --json print wrong usage as JSON."""
    try:
        yield
    except click.UsageError as error:
        if isinstance(error, click.NoSuchOption):
            from kept.cli.suggest import without_option

            error = click.UsageError(without_option(error), error.ctx)
        if not ctx.meta[_AS_JSON] or isinstance(error, click.exceptions.NoArgsIsHelpError):
            raise error from None
        _exit(ctx, "UsageError", error.format_message(), _USAGE)


@contextlib.contextmanager
def damage_reported(ctx: click.Context) -> Iterator[None]:
    """Print the damage that the command went around, after its output, and exit with 4 then.

    With --json, an error that ends the command has the damage in its own line.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DamageWarning)
        ctx.meta[_CAUGHT] = caught
        try:
            yield
        finally:
            found = _damage(ctx)
            if not ctx.meta[_AS_JSON]:
                for text in found:
                    click.echo(f"Damaged: {clean(text)}", err=True)
                if found:
                    click.echo("To see what can be brought back: kept repair", err=True)
    if found:
        if ctx.meta[_AS_JSON]:
            _print_json(ctx, "Damaged", "; ".join(found), _DAMAGED)
        ctx.exit(_DAMAGED)


def _damage(ctx: click.Context) -> list[str]:
    """Return what the warnings so far name, each once."""
    caught = (w for w in ctx.meta.get(_CAUGHT, ()) if issubclass(w.category, DamageWarning))
    return list(dict.fromkeys(str(warning.message) for warning in caught))


def exit_code(error: Exception) -> int:
    """Return the exit code of an error; EXIT_CODES explains them."""
    match error:
        case InvalidInput():
            return _USAGE
        case NotFound():
            return 3
        case Damaged() | NotSigned():
            return _DAMAGED
        case ConditionNotMet():
            return 5
    return 1


def _message(error: KeptError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__


def _exit(ctx: click.Context, kind: str, message: str, code: int) -> None:
    if ctx.meta[_AS_JSON]:
        _print_json(ctx, kind, message, code)
    else:
        start = "" if code == _INTERRUPTED else "Error: "
        lines = message.split("\n") if kind in _SEVERAL_LINES else [message]
        click.echo(start + "\n".join(map(clean, lines)), err=True)
    ctx.exit(code)


def _print_json(ctx: click.Context, kind: str, message: str, code: int) -> None:
    error = {"type": kind, "message": message, "exit_code": code, "damage": _damage(ctx)}
    click.echo(json.dumps({"error": error}).replace("\x7f", "\\u007f"), err=True)
