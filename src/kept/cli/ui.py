"""kept ui: the store in a browser."""

from __future__ import annotations

from typing import Any

import click

from kept.cli.common import json_option, opened, print_result


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
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@json_option
@click.pass_obj
def ui(location: str | None, /, *, opens: bool, as_json: bool, **place: Any) -> None:
    """Look at the store in a browser. Ctrl-C ends it."""
    from kept.web.serve import Place, Site

    store = opened(location, may_be_new=True)
    site = Site(store, Place(**place))
    text = f"{store.location} is at {site.address} (Ctrl-C ends it)"
    print_result(text, {"store": store.location, "address": site.address}, as_json=as_json)
    if opens:
        click.launch(site.address)
    site.run()
