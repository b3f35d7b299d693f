"""The server of the page: which address is which page, and what an error looks like."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kept.errors import KeptError
from kept.web import vega
from kept.web.actions.notes import Notes
from kept.web.actions.routes import Actions
from kept.web.answer import failed, page_response
from kept.web.links import ASSETS
from kept.web.live.routes import live_routes, warmed
from kept.web.page import Download, Frame, Page, Redirect, Stream
from kept.web.pages import artifact, version
from kept.web.pages.compare import compare_page
from kept.web.pages.log import log_page
from kept.web.pages.store import store_page
from kept.web.query import Query
from kept.web.reading.reader import Reader
from kept.web.reading.standings import PATIENCE
from kept.web.security import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from kept.store.store import Store

    # A function of pages/: it takes the reader, the query, and the parts of the path by their
    # names. It returns a page, a file, another address, or data, which are sent as JSON.
    View = Callable[..., Page | Download | Stream | Redirect | dict[str, Any]]

_BYTES = "application/octet-stream"  # no browser shows it
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def make_app(
    store: Store,
    *,
    token: str | None = None,
    read_only: bool = False,
    hosts: Sequence[str] = LOOPBACK,
) -> Starlette:
    """Return the page of a store as an ASGI application."""
    reader, frame = Reader(store, PATIENCE), Frame(store.location, read_only=read_only)
    answer = functools.partial(_route, reader, frame)
    routes = [
        answer("/", store_page),
        answer("/log/", log_page),
        answer("/compare/", compare_page),
        *(answer(f"/artifacts/{{name}}/{end}", view) for end, view in artifact.VIEWS.items()),
        *(answer(f"/artifacts/{{name}}/{end}", view) for end, view in version.VIEWS.items()),
        Route(f"/{ASSETS}/vega-{{version}}", _charts_script),
        *Actions(store, frame).routes(),
        *live_routes(reader),
        Mount(f"/{ASSETS}", StaticFiles(packages=[("kept.web", "static")])),
    ]
    app = Starlette(
        routes=routes,
        lifespan=warmed(reader),
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
    app.state.notes, app.state.reader = Notes(), reader
    return app


def _route(reader: Reader, frame: Frame, path: str, view: View) -> Route:
    def respond(request: Request) -> Response:
        query = Query.parse(request.url.query)
        found = view(reader, query, **request.path_params)
        if isinstance(found, Page):
            return page_response(found, frame, request)
        return _other(found, request)

    return Route(path, respond)


def _other(found: Download | Stream | Redirect | dict[str, Any], request: Request) -> Response:
    """Return data, a file or the way to another address as an answer."""
    if isinstance(found, Download):
        name = f'attachment; filename="{found.name}"'
        return Response(found.content, media_type=found.type, headers={"Content-Disposition": name})
    if isinstance(found, Stream):
        return StreamingResponse(found.parts, media_type=_BYTES, headers=_stream_headers(found))
    if isinstance(found, Redirect):
        root = "../" * (request.url.path.count("/") - 1) or "./"
        return RedirectResponse(f"{root}{found.path}{found.query}", 303)
    return JSONResponse(found)


def _stream_headers(found: Stream) -> dict[str, str]:
    """Return the headers of a file; it is not compressed, so that a browser knows its size."""
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.name, safe='')}",
        "Content-Length": str(found.size),
        "Content-Encoding": "identity",
    }


def _charts_script(request: Request) -> Response:
    """Return the script that draws charts; browsers keep it, because its name has its version."""
    if request.url.path.rpartition("/")[2] != vega.file_name():
        raise HTTPException(404, "Not found")
    return Response(vega.script(), media_type="text/javascript", headers=vega.CACHED)
