"""kept verify: checks that every byte is as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import references
from kept.cli.output import clean, local_time, print_json
from kept.cli.sign import Checked, signed_by_option
from kept.progress import progress
from kept.units import counted, size_text

if TYPE_CHECKING:
    from kept.store.problems import Problem
    from kept.store.scrub.report import Report
    from kept.store.store import Store

_DAMAGED = 4
_UNREAD = 1


@click.command()
@click.argument("ref", required=False, shell_complete=references)
@click.option(
    "--sample", metavar="SHARE", help="Read a random share of the blobs, such as 5%; other ones "
    "each time. Logs and manifests are read as a whole.",
)  # fmt: skip
@click.option(
    "--newer-than",
    metavar="TIME",
    help="Read only versions committed in the last time, such as 7d.",
)
@click.option("--limit-rate", metavar="BYTES", help="Read up to that much a second, such as 50MB.")
@click.option("--resume", is_flag=True, help="Continue an interrupted check with the same options.")
@signed_by_option
@json_option
def verify(
    ref: str | None, *, signed_by: tuple[str, ...], as_json: bool, **how: str | bool | None
) -> None:
    """Read a version, or the whole store, and check every byte.

    Prints a line for each problem, and exits with 4 if there is one. Repairs nothing. With
    --signed-by, a version without a valid signature is a problem.

    What a server refuses to send is no problem, but could not be read: it has a line, too, and
    without a problem the exit code is 1.

    A check of more than some seconds notes in the cache folder of the user which blobs are sound.
    If it is interrupted, --resume continues there.
    """
    ctx = click.get_current_context()
    store = opened(ctx.obj)
    report = _checked(store, ref, {name: value for name, value in how.items() if value})
    signed = Checked(store, ref, signed_by) if signed_by else None
    report.problems += signed.problems if signed else ()
    if as_json:
        _print_report_json(report, signed)
    else:
        _print_report(report, signed)
    if not report.ok:
        ctx.exit(_DAMAGED if report.problems else _UNREAD)


def _checked(store: Store, ref: str | None, how: dict[str, Any]) -> Report:
    try:
        with progress(f"Verifying {ref or 'all versions'}", "bytes") as read:
            return store.verify(ref, progress=read, **how)
    except BaseException as error:
        for note in getattr(error, "__notes__", ()):  # how to continue
            click.echo(clean(note), err=True)
        raise


def _print_report(report: Report, signed: Checked | None) -> None:
    if signed:
        signed.print()
    for problem in (*report.problems, *report.unread):
        click.echo(clean(str(problem)))
    if report.continues:
        since = local_time(report.continues)
        skipped = counted(report.skipped, "blob")
        click.echo(f"Skipped: {skipped} that the interrupted check, begun {since}, has read")
    left = report.all_blobs - report.blobs - report.skipped
    if left:
        click.echo(
            f"Random sample: {report.blobs + report.skipped:,} of {report.all_blobs:,} blobs"
        )
    read = f"{counted(report.versions, 'version')}, {size_text(report.bytes)} read"
    found = counted(len(report.problems), "problem") if report.problems else "no damage"
    if report.unread:
        keys = {problem.key for problem in report.unread}
        found += f" in what was read; {counted(len(keys), 'key')} could not be read, and nothing is"
        found += " known about it" if len(keys) == 1 else " known about them"
    click.secho(f"{read}: {found}", fg="green" if report.ok else "red")


def _print_report_json(report: Report, signed: Checked | None) -> None:
    print_json(
        {
            "ok": report.ok,
            "versions": report.versions,
            "chunks": report.chunks,
            "bytes": report.bytes,
            "blobs": report.blobs,
            "skipped": report.skipped,
            "all_blobs": report.all_blobs,
            "problems": _shapes(report.problems),
            "unread": _shapes(report.unread),
            **({"signatures": signed.json()} if signed else {}),
        }
    )


def _shapes(problems: list[Problem]) -> list[dict[str, str]]:
    return [{"where": p.where, "message": p.message, "key": p.key} for p in problems]
