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
    from starlette.types import Lifespan

    from kept.web.reader import Reader

_DEEPEST = 8  # folders below the first page


def live_routes(reader: Reader) -> list[Route]:
    """Return the routes of a server's live pages."""
    notifier = Notifier(reader)

    async def events(_: Request) -> Response:
        return EventSourceResponse(notifier.events(), ping=15, send_timeout=30)

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
