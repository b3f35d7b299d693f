"""kept repair: brings back what is damaged or lost, as far as any copy or proof of it exists."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import confirm, json_option, yes_option
from kept.cli.output import clean, print_json
from kept.progress import progress
from kept.units import counted

if TYPE_CHECKING:
    from kept.store.repair.plan import Plan

_DAMAGED = 4


@click.command()
@click.option(
    "--from",
    "places",
    multiple=True,
    metavar="LOCATION",
    help="A mirror of the store, or a folder with checkpoint files; may be repeated.",
)
@click.option(
    "--drop-replaced",
    is_flag=True,
    help="Only delete what earlier repairs have set aside in damaged/.",
)
@yes_option
@json_option
@click.pass_context
def repair(
    ctx: click.Context, places: tuple[str, ...], *, drop_replaced: bool, yes: bool, as_json: bool
) -> None:
    """Bring back what is damaged or lost in the store.

    Reads the whole store, prints what it would do, and asks. Records are rebuilt from copies that
    the store has itself, from mirrors, and from what the log proves; blobs from mirrors and from
    checkpoint files. What is replaced stays in the store, in damaged/. Other programs may continue
    to write. Exits with 4 if damage is left.
    """
    from kept.store.open import open_bucket
    from kept.store.repair.repair import carry_out, plan_repair, split_places
    from kept.store.repair.repair import drop_replaced as drop

    bucket = open_bucket(ctx.obj)
    if drop_replaced:
        click.echo(f"{counted(drop(bucket), 'value')} deleted from damaged/")
        return
    mirrors, folders = split_places(places)
    with progress("Reading the store", "blobs") as done:
        plan, sources = plan_repair(bucket, mirrors, folders, done)
    if not as_json:
        _print(plan)
    wanted = bool(plan.steps) and (yes or _agreed())
    if wanted:
        carry_out(bucket, plan, sources)
    if as_json:
        print_json(_shape(plan, is_done=wanted))
    elif wanted:
        click.echo(f"{counted(len(plan.steps), 'step')} done. What was replaced is in damaged/.")
    if plan.lost or (plan.steps and not wanted):
        ctx.exit(_DAMAGED)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        click.echo("Nothing was changed. Pass --yes to do this.", err=True)
        return False
    confirm("Do this?")
    return True


def _print(plan: Plan) -> None:
    for step in plan.steps:
        click.echo(clean(f"{_verb(step)} {step.key}: {step.why}"))
    for problem in plan.lost:
        click.echo(clean(f"lost  {problem}"))
    if plan.is_empty:
        click.secho("Nothing is damaged.", fg="green")
    elif plan.lost:
        click.echo("A mirror or the checkpoint files may have what is lost: pass --from LOCATION.")


def _verb(step: object) -> str:
    names = {"Write": "write", "Fetch": "fetch", "SetAside": "set aside", "Append": "append to"}
    return names[type(step).__name__]


def _shape(plan: Plan, *, is_done: bool) -> dict[str, Any]:
    return {
        "done": is_done,
        "steps": [{"step": _verb(s), "key": s.key, "why": s.why} for s in plan.steps],
        "lost": [{"where": p.where, "message": p.message} for p in plan.lost],
    }
