"""Answers a request with a page, or with what failed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from kept.errors import AliasProtected, ConditionNotMet, InvalidInput, NotFound, VersionInUse
from kept.web.links import Links
from kept.web.page import Frame, Page, render
from kept.web.query import Query

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


def page_response(page: Page, frame: Frame, request: Request) -> Response:
    """Return a page as HTML, with the note that an action has left for it."""
    depth = request.url.path.count("/") - 1
    note = request.app.state.notes.take(request)
    if "runs" not in page.values:
        page = replace(page, values={"runs": request.app.state.reader.runs()} | page.values)
    html = render(page, frame, Links(depth), Query.parse(request.url.query), note)
    return HTMLResponse(html, page.status)


def failed(frame: Frame, request: Request, error: Exception) -> Response:
    """Return a page that says what failed; the address keeps what was typed."""
    status = status_of(error)
    text = str(error.detail) if isinstance(error, HTTPException) else str(error)
    page = Page("error.html", "Error", {"error": text, "status": status}, status)
    return page_response(page, frame, request)


def status_of(error: Exception) -> int:
    """Return the status of an answer for an error."""
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, (VersionInUse, AliasProtected, ConditionNotMet)):
        return 409
    return 400 if isinstance(error, InvalidInput) else 500
