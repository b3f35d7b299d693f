"""Runs the server of the page until Ctrl-C."""

from __future__ import annotations

import secrets
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from kept.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.store import Store

_LOCAL = ("127.0.0.1", "localhost", "::1")
_NEXT_PORTS = 20


@contextmanager
def needed() -> Iterator[None]:
    """Raise InvalidInput, which names the extra, if a package that is imported is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"kept ui needs the package {error.name}, which is not installed: "
            "pip install 'kept[web]'"
        ) from error


class Place(NamedTuple):
    """Where the page is, and who may see it."""

    host: str = "127.0.0.1"
    port: int | None = None  # None: 7771, or the next free one; 0: any free one
    token: str | None = None  # another host than this machine always gets one
    read_only: bool = False


class Site:
    """The page of a store at an address, which is taken from the start and answers while it runs.

    Raises InvalidInput without the extra web, for an empty token, or if the port is not free.
    """

    def __init__(self, store: Store, place: Place) -> None:
        _check_token(place.token)
        with needed():
            from kept.web.app import LOOPBACK, make_app
        is_local = place.host in _LOCAL
        token = place.token if is_local or place.token else secrets.token_urlsafe(24)
        hosts = LOOPBACK if is_local else ("*",)
        self._app = make_app(store, token=token, read_only=place.read_only, hosts=hosts)
        self._listener = _listen(place)
        port = self._listener.getsockname()[1]
        name = f"[{place.host}]" if ":" in place.host else place.host
        query = f"?{urlencode({'token': token})}" if token else ""
        self.address = f"http://{name}:{port}/{query}"

    def run(self) -> None:
        """Answer until Ctrl-C."""
        import uvicorn

        config = uvicorn.Config(
            self._app, log_level="warning", access_log=False, timeout_graceful_shutdown=1
        )
        with self._listener:
            uvicorn.Server(config).run(sockets=[self._listener])


def _listen(place: Place) -> socket.socket:
    first = 7771 if place.port is None else place.port
    tries = range(first, first + _NEXT_PORTS) if place.port is None else [first]
    for port in tries:
        try:
            family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
            return socket.create_server((place.host, port), family=family)
        except OSError as error:
            failure = error
    raise InvalidInput(
        f"{place.host}:{first} cannot be used: {failure}. Choose another --port or --host."
    )


def _check_token(token: str | None) -> None:
    """Raise InvalidInput for a token that protects nothing, or that no cookie holds."""
    if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
        raise InvalidInput(
            "A token has at least one character, all of them of ASCII, such as A-Z a-z 0-9 - _. "
            f"Received: {token!r}. Leave it out, and kept makes one for other machines."
        )
