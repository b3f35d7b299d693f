"""Runs the server of the page until Ctrl-C."""

from __future__ import annotations

import secrets
import socket
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from kept.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.store.store import Store

_LOCAL = ("127.0.0.1", "localhost", "::1")
_NEXT_PORTS = 20


class Place(NamedTuple):
    """Where the page is, and who may see it."""

    host: str = "127.0.0.1"
    port: int | None = None  # None: 7771, or the next free one; 0: any free one
    token: str | None = None  # another host than this machine always gets one
    read_only: bool = False


def serve(store: Store, place: Place, ready: Callable[[str], None]) -> None:
    """Serve the page of a store until Ctrl-C; ready takes its address when it answers.

    Raises InvalidInput without the extra web, or if the port is not free.
    """
    try:
        import uvicorn

        from kept.web.app import LOOPBACK, make_app
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"kept ui needs the package {error.name}, which is not installed: "
            "pip install 'kept[web]'"
        ) from error
    is_local = place.host in _LOCAL
    token = place.token if is_local or place.token else secrets.token_urlsafe(24)
    hosts = LOOPBACK if is_local else ("*",)
    app = make_app(store, token=token, read_only=place.read_only, hosts=hosts)
    listener = _listen(place)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=1
    )
    with listener:
        port = listener.getsockname()[1]
        name = f"[{place.host}]" if ":" in place.host else place.host
        ready(f"http://{name}:{port}/" + (f"?{urlencode({'token': token})}" if token else ""))
        uvicorn.Server(config).run(sockets=[listener])


def _listen(place: Place) -> socket.socket:
    first = 7771 if place.port is None else place.port
    tries = range(first, first + _NEXT_PORTS) if place.port is None else [first]
    for port in tries:
        try:
            family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
            return socket.create_server((place.host, port), family=family)
        except OSError as error:
            failure = error
    raise InvalidInput(f"{place.host}:{first} cannot be used: {failure}. Choose another --port")
