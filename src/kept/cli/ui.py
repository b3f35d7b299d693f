"""kept ui: the store in a browser."""

from __future__ import annotations

from typing import Any

import click

from kept.cli.common import opened


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
@click.pass_obj
def ui(location: str | None, /, *, opens: bool, **place: Any) -> None:
    """Look at the store in a browser. Ctrl-C ends it."""
    from kept.web.serve import Place, serve

    store = opened(location, may_be_new=True)

    def ready(address: str) -> None:
        click.echo(f"{store.location} is at {address} (Ctrl-C ends it)")
        if opens:
            click.launch(address)

    serve(store, Place(**place), ready)
