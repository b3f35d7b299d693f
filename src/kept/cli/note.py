"""kept note: what people write about a version."""

from __future__ import annotations

import click

from kept.cli.common import json_option, opened, print_result, version_json
from kept.cli.completion import references
from kept.cli.output import local_time


@click.command(short_help="Write a note on a version, or its description.")
@click.argument("ref", shell_complete=references)
@click.argument("text", nargs=-1)
@click.option("--description", metavar="TEXT", help="Replace the description; '' removes it.")
@json_option
@click.pass_obj
def note(
    location: str | None,
    /,
    ref: str,
    text: tuple[str, ...],
    *,
    description: str | None,
    as_json: bool,
) -> None:
    """Write a note on a version; without TEXT, print its description and notes.

    TEXT is one word or several. Notes add up, each with its time and author. A version has one
    description.
    """
    version = opened(location).version(ref)
    if text or description is not None:
        version = version.update(note=" ".join(text) if text else None, description=description)
    lines = _lines(f"{version.reference}:", version.description or "no description")
    for each in version.notes:
        lines += _lines(f"{local_time(each.time)} {each.by or 'unknown'}:", each.text)
    print_result(lines, version_json(version), as_json=as_json)


def _lines(start: str, text: str) -> list[str]:
    """Return a text with what precedes it; its further lines are indented, so none looks like it.

    Empty lines at its ends are left out.
    """
    first, *more = text.strip().splitlines() or [""]
    return [f"{start} {first}", *(f"    {line}" for line in more)]
