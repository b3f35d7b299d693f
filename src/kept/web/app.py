"""The server of the page: which address is which page, and what an error looks like."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kept.errors import InvalidInput, KeptError, NotFound
from kept.web.links import ASSETS, Links
from kept.web.page import Frame, Page, render
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
        Mount(f"/{ASSETS}", StaticFiles(packages=[("kept.web", "static")])),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
            Middleware(Guard, token=token, read_only=read_only),
            Middleware(GZipMiddleware, compresslevel=5),
        ],
        exception_handlers={
            KeptError: functools.partial(_failed, frame),
            OSError: functools.partial(_failed, frame),
            HTTPException: functools.partial(_failed, frame),
        },
    )


def _route(reader: Reader, frame: Frame, path: str, view: View) -> Route:
    def respond(request: Request) -> Response:
        query = Query.parse(request.url.query)
        found = view(reader, query, **request.path_params)
        return JSONResponse(found) if isinstance(found, dict) else _response(found, frame, request)

    return Route(path, respond)


def _response(page: Page, frame: Frame, request: Request) -> Response:
    depth = request.url.path.count("/") - 1
    html = render(page, frame, Links(depth), Query.parse(request.url.query))
    return HTMLResponse(html, page.status)


def _failed(frame: Frame, request: Request, error: Exception) -> Response:
    """Return a page that says what failed; the address keeps what was typed."""
    status = _status(error)
    text = str(error.detail) if isinstance(error, HTTPException) else str(error)
    page = Page("error.html", "Error", {"error": text, "status": status}, status)
    return _response(page, frame, request)


def _status(error: Exception) -> int:
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, NotFound):
        return 404
    return 400 if isinstance(error, InvalidInput) else 500
