"""Who may use the page, and what a browser may do with it.

A request that changes something must come from a page of this server. Browsers say so in
Sec-Fetch-Site, or in Origin (https://web.dev/articles/fetch-metadata). The name of the server is
checked, so no other site can reach the page by a name that it lets point to this machine. A server
for other machines has a token instead: another site's request comes without the cookie.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from kept.web.query import Query

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'none'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with it, browsers send "Origin: null" for forms. Over http they send no
    # Sec-Fetch-Site to other machines, so nothing would say that the form is of this page.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_OPENER = {"Cross-Origin-Opener-Policy": "same-origin"}
_SAFE = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Refuses requests without the token, and changes that another site asks for."""

    def __init__(self, app: ASGIApp, token: str | None, *, read_only: bool) -> None:
        self._app, self._token, self._read_only = app, token, read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        request = Request(scope)
        # Over http from another machine, browsers ignore it, and complain in the console.
        sent = _HEADERS | _OPENER if _is_trustworthy(request) else _HEADERS

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in sent.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(request)
        await (refusal or self._app)(scope, receive, send_headers)

    def _refusal(self, request: Request) -> Response | None:
        if self._token is not None and not self._is_known(request):
            return self._ask(request)
        if request.method in _SAFE:
            return None
        if self._read_only:
            return PlainTextResponse("This page was started with --read-only.", 403)
        if not _is_own(request):
            return PlainTextResponse("Refused: the request does not come from this page.", 403)
        return None

    def _is_known(self, request: Request) -> bool:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return any(map(self._is_token, (request.cookies.get(_cookie(request), ""), bearer)))

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), str(self._token).encode())

    def _ask(self, request: Request) -> Response:
        """Take the token from the address into a cookie, or refuse."""
        query = Query.parse(request.url.query)
        if request.method in _SAFE and self._is_token(query.get("token")):
            answer = RedirectResponse(f"{request.url.path}{query.but(token=None)}", 303)
            answer.set_cookie(_cookie(request), str(self._token), httponly=True, samesite="strict")
            return answer
        return PlainTextResponse("Open the address with ?token=… that kept ui has printed.", 401)


def _is_trustworthy(request: Request) -> bool:
    host = request.headers.get("host", "")
    return request.url.scheme == "https" or host.startswith(("localhost", "127.0.0.1", "[::1]"))


def _cookie(request: Request) -> str:
    """Return the name of the cookie: browsers share cookies among all ports of a machine."""
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"kept-token-{port if port.isdecimal() else 80}"


def _is_own(request: Request) -> bool:
    """Return whether a page of this server sends the request."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    host = request.headers.get("host")
    return bool(host) and origin in (f"http://{host}", f"https://{host}")
