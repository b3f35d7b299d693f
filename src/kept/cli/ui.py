"""kept ui: the store in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened, print_result
from kept.cli.completion import artifact_names
from kept.progress import progress
from kept.units import counted, size_text

if TYPE_CHECKING:
    from kept.store.store import Store


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    help="Where to listen. Any place other than this machine needs the printed token.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="The port; 0: any free one. Default: 7771, or the next free one.",
)
@click.option(
    "--token",
    metavar="TEXT",
    envvar="KEPT_UI_TOKEN",
    show_envvar=True,
    help="Ask for this token on this machine, too.",
)
@click.option("--read-only", is_flag=True, help="Offer nothing that changes the store.")
@click.option(
    "--export",
    "folder",
    metavar="DIR",
    help="Write the pages into this folder instead, for a web server or a colleague.",
)
@click.option(
    "--artifact",
    "names",
    multiple=True,
    metavar="NAME",
    shell_complete=artifact_names,
    help="With --export: only this artifact. Repeatable.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@json_option
@click.pass_obj
def ui(
    location: str | None,
    /,
    *,
    folder: str | None,
    names: tuple[str, ...],
    opens: bool,
    as_json: bool,
    **place: Any,
) -> None:
    """Look at the store in a browser. Ctrl-C ends it.

    With --export, the same pages are written to files, without what changes the store. An earlier
    export in the folder is replaced; any other folder that is not empty is refused.
    """
    if folder is not None:
        _export(opened(location), folder, names, opens=opens, as_json=as_json)
        return
    if names:
        raise click.UsageError("--artifact belongs to --export DIR.")
    from kept.web.serve import Place, Site

    store = opened(location, may_be_new=True)
    site = Site(store, Place(**place))
    text = f"{store.location} is at {site.address} (Ctrl-C ends it)"
    print_result(text, {"store": store.location, "address": site.address}, as_json=as_json)
    if opens:
        click.launch(site.address)
    site.run()


def _export(
    store: Store, folder: str, names: tuple[str, ...], *, opens: bool, as_json: bool
) -> None:
    from kept.web.serve import needed

    with needed():
        from kept.web.export.export import export
    with progress("Exporting pages") as update:
        found = export(store, folder, names, update)
    first = f"{found.folder}/index.html"
    text = f"Exported {counted(found.pages, 'page')}, {size_text(found.bytes)}, to {first}"
    if found.left_out:
        left = counted(found.left_out, "version")
        text += f"\n{left} without a page of their own: an artifact has pages for its newest 500"
    shape = {"file": first, "pages": found.pages, "bytes": found.bytes, "left_out": found.left_out}
    print_result(text, shape, as_json=as_json)
    if opens:
        click.launch(first)
