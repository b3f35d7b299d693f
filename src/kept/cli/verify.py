"""kept verify: checks that every byte is as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import references
from kept.cli.output import clean, counted, print_json
from kept.cli.sign import Checked, signed_by_option
from kept.progress import progress
from kept.units import size_text

if TYPE_CHECKING:
    from kept.store.verify import Report

_DAMAGED = 4


@click.command()
@click.argument("ref", required=False, shell_complete=references)
@signed_by_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context, ref: str | None, *, signed_by: tuple[str, ...], as_json: bool
) -> None:
    """Read a version, or the whole store, and check every byte.

    Prints a line for each problem, and exits with 4 if there is one. Repairs nothing. With
    --signed-by, a version without a valid signature is a problem.
    """
    store = opened(ctx.obj)
    with progress(f"Verifying {ref or 'all versions'}", "versions") as checked:
        report = store.verify(ref, progress=checked)
    signed = Checked(store, ref, signed_by) if signed_by else None
    report.problems += signed.problems if signed else ()
    if as_json:
        _print_report_json(report, signed)
    else:
        _print_report(report, signed)
    if not report.ok:
        ctx.exit(_DAMAGED)


def _print_report(report: Report, signed: Checked | None) -> None:
    if signed:
        signed.print()
    for problem in report.problems:
        click.echo(clean(str(problem)))
    read = f"{counted(report.versions, 'version')}, {size_text(report.bytes)} read"
    found = "no damage" if report.ok else counted(len(report.problems), "problem")
    click.secho(f"{read}: {found}", fg="green" if report.ok else "red")


def _print_report_json(report: Report, signed: Checked | None) -> None:
    print_json(
        {
            "ok": report.ok,
            "versions": report.versions,
            "chunks": report.chunks,
            "bytes": report.bytes,
            "problems": [{"where": p.where, "message": p.message} for p in report.problems],
            **({"signatures": signed.json()} if signed else {}),
        }
    )
