"""The addresses of live pages: the events, and the line of the trainings that run."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio.to_thread
from sse_starlette import EventSourceResponse
from starlette.responses import HTMLResponse
from starlette.routing import Route

from kept.web.links import Links
from kept.web.live.notifier import Notifier
from kept.web.page import environment
from kept.web.query import Query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Lifespan, Message, Receive, Scope, Send

    from kept.web.reading.reader import Reader

_DEEPEST = 8  # folders below the first page


class _Events(EventSourceResponse):
    """Events that end well when the server ends: else uvicorn reports an error for each page."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the page or the server ends."""
        is_open = False

        async def send_on(message: Message) -> None:
            nonlocal is_open
            is_open = bool(message.get("more_body", True))
            await send(message)

        await super().__call__(scope, receive, send_on)
        if is_open:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def live_routes(reader: Reader) -> list[Route]:
    """Return the routes of a server's live pages."""
    notifier = Notifier(reader)

    async def events(_: Request) -> Response:
        return _Events(notifier.events(), ping=15, send_timeout=30)

    def runs(request: Request) -> Response:
        depth = Query.parse(request.url.query).number("depth", 0, most=_DEEPEST)
        template = environment().get_template("running.html")
        return HTMLResponse(template.render(runs=reader.runs(), links=Links(depth)))

    return [Route("/live", events), Route("/live/runs", runs)]


def warmed(reader: Reader) -> Lifespan[Starlette]:
    """Return the lifespan of a server: it reads in the background what the first page needs."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(_warm, reader)
            yield
            group.cancel_scope.cancel()

    return lifespan


async def _warm(reader: Reader) -> None:
    await anyio.to_thread.run_sync(reader.warm, abandon_on_cancel=True)
    await anyio.to_thread.run_sync(_compile, abandon_on_cancel=True)


def _compile() -> None:
    for name in environment().list_templates():
        environment().get_template(name)
