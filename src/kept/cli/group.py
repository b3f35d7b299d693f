"""The verbs of the command: how they are found, listed in the help, and suggested."""

from __future__ import annotations

import keyword
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from kept.cli.errors import damage_reported, errors_printed, note_json, usage_explained
from kept.cli.layout import terminal_columns
from kept.cli.waiting import waits_named

if TYPE_CHECKING:
    from collections.abc import Sequence

# The verbs in the order of the help. Each has a module of its name.
GROUPS = {
    "Look": ("ls", "show", "diff", "best", "plot", "log", "lineage", "du", "ui"),
    "Store and fetch": ("put", "get", "cp", "mv", "import", "export"),
    "Name and describe": ("alias", "tag", "note", "metric", "evaluate"),
    "Promote": ("promote", "rollback", "protect"),
    "Delete": ("rm", "undelete", "prune", "ttl", "gc", "compact"),
    "Check": ("verify", "repair", "sign"),
    "Send and react": ("sync", "watch"),
    "Shell": ("completion",),
}


_LEAST_OF_CLICK = 52  # columns; on a terminal with fewer, click writes a help that is too wide
_LEAST = 30
_SHORT = 200  # characters: a short help is wrapped, and never cut


class VerbGroup(click.Group):
    """A command whose verbs are imported when the user calls them."""

    def __init__(self, verbs: Sequence[str], **options: Any) -> None:
        """Take the names of the verbs."""
        super().__init__(**options)
        self._verbs = verbs

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the verbs in the order of the help."""
        return [verb for verbs in GROUPS.values() for verb in verbs if verb in self._verbs]

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb, which takes --store as well, or None if it does not exist."""
        if cmd_name not in self._verbs:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name  # import_.py
        command: click.Command = getattr(import_module(f"kept.cli.{name}"), name)
        if _STORE not in command.params:
            command.params.append(_STORE)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each verb with its short help, below the titles of the groups."""
        widest = max(map(len, self._verbs))
        for title, verbs in GROUPS.items():
            found = [self.get_command(ctx, verb) for verb in verbs]
            rows = [(str(c.name).ljust(widest), c.get_short_help_str(_SHORT)) for c in found if c]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what comes before the verb."""
        note_json(ctx, args)
        columns = terminal_columns()
        if columns < _LEAST_OF_CLICK:
            ctx.terminal_width = max(columns - 2, _LEAST)  # also for the verb
        with usage_explained(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb and its arguments; `help VERB` is `VERB --help`."""
        name, *rest = args
        if name == "help":
            if not rest:
                click.echo(ctx.get_help())
                ctx.exit()
            name, *rest = rest[0], "--help"
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            from kept.cli.suggest import command_hint

            hint = command_hint(name, self.list_commands(ctx))
            raise click.UsageError(f"No such command {name!r}{hint}", ctx)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; print what goes wrong, and exit with the code for it."""
        with damage_reported(ctx), waits_named(), errors_printed(ctx), usage_explained(ctx):
            return super().invoke(ctx)


def _use_store(ctx: click.Context, _: click.Parameter, location: str | None) -> None:
    """Let --store after the verb count like --store before it; the one after it wins."""
    if location is not None:
        ctx.obj = location
        ctx.find_root().params["store"] = location  # completion asks for it there


_STORE = click.Option(
    ["--store"],
    metavar="LOCATION",
    expose_value=False,
    callback=_use_store,
    help="The store; the same as before the verb.",
)
