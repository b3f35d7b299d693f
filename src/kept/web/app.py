"""The server of the page: which address is which page, and what an error looks like."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kept.errors import KeptError
from kept.web.actions.notes import Notes
from kept.web.actions.routes import Actions
from kept.web.answer import failed, page_response
from kept.web.links import ASSETS
from kept.web.page import Frame, Page
from kept.web.pages.store import store_page
from kept.web.query import Query
from kept.web.reader import Reader
from kept.web.security import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from kept.store.store import Store

    # A function of pages/: it takes the reader, the query, and the parts of the path by their
    # names. It returns a page, or data for a chart, which are sent as JSON.
    View = Callable[..., Page | dict[str, Any]]

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def make_app(
    store: Store,
    *,
    token: str | None = None,
    read_only: bool = False,
    hosts: Sequence[str] = LOOPBACK,
) -> Starlette:
    """Return the page of a store as an ASGI application."""
    reader, frame = Reader(store), Frame(store.location, read_only=read_only)
    answer = functools.partial(_route, reader, frame)
    routes = [
        answer("/", store_page),
        *Actions(store, frame).routes(),
        Mount(f"/{ASSETS}", StaticFiles(packages=[("kept.web", "static")])),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
            Middleware(Guard, token=token, read_only=read_only),
            Middleware(GZipMiddleware, compresslevel=5),
        ],
        exception_handlers={
            KeptError: functools.partial(failed, frame),
            OSError: functools.partial(failed, frame),
            HTTPException: functools.partial(failed, frame),
        },
    )
    app.state.notes = Notes()
    return app


def _route(reader: Reader, frame: Frame, path: str, view: View) -> Route:
    def respond(request: Request) -> Response:
        query = Query.parse(request.url.query)
        found = view(reader, query, **request.path_params)
        return (
            JSONResponse(found) if isinstance(found, dict) else page_response(found, frame, request)
        )

    return Route(path, respond)
