"""A proxy in front of an S3 server whose answers are wrong in more ways, by the class of a request.

Classes: LIST, GET, HEAD, PUT, CPUT (a PUT that must not replace), DELETE.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.proxy import _ERROR, Proxy, _Handler

# What one fault answers instead of passing a request on: status, code.
REFUSALS = {
    "500": (500, "InternalError"), "503": (503, "SlowDown"), "403": (403, "AccessDenied"),
    "404": (404, "NoSuchKey"), "409": (409, "ConditionalRequestConflict"),
    "412": (412, "PreconditionFailed"), "200err": (200, "InternalError"),
}  # fmt: skip
HTML = b"<html><body>Please log in to the network of this hotel.</body></html>"
LONGEST = 40  # seconds without an answer


class Asked(NamedTuple):
    """A request as a fault sees it."""

    kind: str
    key: str  # of the object, or the prefix of a listing; with the prefix of the store


class LyingProxy(Proxy):
    """Set `lie` to a function of an Asked that returns a fault's name or None.

    The faults of REFUSALS pass nothing on; with "after" at the end of the name they do so first.
    away     breaks off at once              drop     breaks off instead of answering
    reset    breaks off within the answer    cut      the answer is half as long, and complete
    flip     a bit of the answer is wrong    other    the value of another key, from `others`
    html     an HTML page, status 200        blank    an empty body, status 200
    empty    a list without keys             stale    a list without its last key and last folder
    missing  a list without the key in its middle
    truncated  the first half of a list, as if that were all
    slow     waits for `seconds`             hang     gives no answer
    """

    def __init__(self, target: str) -> None:
        super().__init__(target, _LyingHandler)
        self._server.handle_error = lambda *_: None
        self._server.request_queue_size = 64
        self._server.socket.listen(64)
        self.lie = lambda asked: None
        self.seen = lambda asked: None  # called with each request, before it is passed on
        self.others: dict[str, bytes] = {}
        self.over = threading.Event()  # no request hangs any longer
        self.asked: list[tuple[Asked, str | None]] = []


def asked(method: str, path: str, headers) -> Asked:
    """Return the class and the key of a request."""
    parts = urlsplit(path)
    query = parse_qs(parts.query)
    key = unquote(parts.path).lstrip("/").partition("/")[2]
    if method == "GET" and "list-type" in query:
        return Asked("LIST", query.get("prefix", [""])[0])
    if method == "POST" and "delete" in parts.query:
        return Asked("DELETE", key)
    if method == "PUT" and headers.get("If-None-Match"):
        return Asked("CPUT", key)
    return Asked(method, key)


class _LyingHandler(_Handler):
    def _handle(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.now = asked(self.command, self.path, self.headers)
        self.proxy.seen(self.now)
        fault = self.proxy.lie(self.now)
        self.proxy.asked.append((self.now, fault))
        try:
            self._do(fault, body)
        except (http.client.HTTPException, OSError):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _Handler._any  # noqa: N815

    def _do(self, fault, body):
        if fault is None:
            return self._do_pass(body)
        name = fault.removesuffix("after")
        if name in REFUSALS:
            if name != fault:
                self._forward(body)
            status, code = REFUSALS[name]
            return self._answer(status, [], (_ERROR % (code, "A fault.")).encode())
        return getattr(self, f"_do_{name}")(body)

    def _do_html(self, _):
        return self._answer(200, [("Content-Type", "text/html")], HTML)

    def _do_blank(self, _):
        return self._answer(200, [], b"")

    def _do_cut(self, body):
        status, headers, data = self._forward(body)
        return self._answer(status, headers, data[: len(data) // 2])

    def _do_flip(self, body):
        status, headers, data = self._forward(body)
        changed = bytearray(data)
        if status < 300 and changed:
            changed[len(changed) // 2] ^= 1
        return self._answer(status, headers, bytes(changed))

    def _do_other(self, body):
        status, headers, data = self._forward(body)
        return self._answer(status, headers, self.proxy.others.get(self.now.key, data))

    def _do_empty(self, body):
        return self._without(body, rb"<(Contents|CommonPrefixes)>.*?</\1>")

    def _do_stale(self, body):
        names = (b"Contents", b"CommonPrefixes")
        found = [b"<%s>(?!.*<%s>).*?</%s>" % (name, name, name) for name in names]
        return self._without(body, b"|".join(found))

    def _do_truncated(self, body):
        return self._without_some(body, lambda count: range((count + 1) // 2, count))

    def _do_missing(self, body):
        return self._without_some(body, lambda count: [count // 2])

    def _without_some(self, body, choose):
        status, headers, data = self._forward(body)
        found = list(re.finditer(rb"<(Contents|CommonPrefixes)>.*?</\1>", data, re.DOTALL))
        for number in sorted(choose(len(found)) if found else (), reverse=True):
            data = data[: found[number].start()] + data[found[number].end() :]
        return self._answer(status, headers, data)

    def _without(self, body, pattern):
        status, headers, data = self._forward(body)
        return self._answer(status, headers, re.sub(pattern, b"", data, flags=re.DOTALL))

    def _do_hang(self, _):
        until = time.monotonic() + LONGEST
        while not self.proxy.over.wait(0.5) and time.monotonic() < until:
            pass
        self._break_off()
