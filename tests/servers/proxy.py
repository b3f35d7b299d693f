"""A proxy in front of an S3 server that counts what passes, and misbehaves as a test asks."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import struct
import threading
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.servers.loopback import Loopback

_ERROR = '<?xml version="1.0"?><Error><Code>%s</Code><Message>%s</Message></Error>'
_SKIPPED = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Request(NamedTuple):
    method: str
    path: str
    sent: int  # bytes of the body
    received: int
    fault: str | None
    headers: dict[str, str]

    @property
    def key(self) -> str:
        return self.path.partition("?")[0]


class Proxy(Loopback):
    """Set `fault` to a function of method and path that returns a fault's name or None.

    drop     passes the request on, and breaks off instead of answering
    503      passes it on, and answers 503
    409      answers 409 ConditionalRequestConflict and passes nothing on
    slow     waits for `seconds` before it passes the request on
    reset    breaks off in the middle of the answer's body
    expired  answers 400 ExpiredToken, as to all requests with a token in `expired`
    away     breaks off at once
    echo     answers 403 and repeats the request's credentials
    unknown  passes a deletion on, and answers that it went wrong for a key (Ceph does, in races)
    """

    def __init__(self, target: str, handler: type[_Handler] | None = None) -> None:
        super().__init__(handler or _Handler)
        self.target = urlsplit(target).netloc
        self.requests: list[Request] = []
        self.fault = lambda method, path: None
        self.seconds = 0.2
        self.expired = set()  # session tokens
        self.under_way, self.changed = 0, threading.Condition()

    @contextlib.contextmanager
    def counted(self):
        """Yield a list that holds, after the block, the requests made in it."""
        self._settle()
        start, found = len(self.requests), []
        yield found
        self._settle()
        found += self.requests[start:]

    def _settle(self) -> None:
        """Wait for requests to be noted: a client can have its answer before that."""
        with self.changed:
            assert self.changed.wait_for(lambda: not self.under_way, 30)


class FirstTime:
    """A fault for the first request of each key that matches, so that a retry succeeds.

    Without a method it is for the first one of each method.
    """

    def __init__(self, fault: str, method: str | None, part: str) -> None:
        self.fault, self.method, self.part = fault, method, part
        self.seen: set[str] = set()

    def __call__(self, method: str, path: str) -> str | None:
        seen = path if self.method else f"{method} {path}"
        if self.method not in (None, method) or self.part not in path or seen in self.seen:
            return None
        self.seen.add(seen)
        return self.fault


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one connection; `_do_NAME` is the fault NAME."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or an answer with a body takes 40 ms

    def setup(self):
        super().setup()
        self.upstream = None
        self.proxy = self.server.owner

    def log_message(self, *_):
        pass

    def _any(self):
        self._count(1)
        try:
            self._handle()
        finally:
            self._count(-1)

    def _count(self, change):
        with self.proxy.changed:
            self.proxy.under_way += change
            self.proxy.changed.notify_all()

    def _handle(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.fault(self.command, self.path)
        if self.headers.get("x-amz-security-token") in self.proxy.expired:
            fault = "expired"
        received = getattr(self, "_do_" + (fault or "pass"))(body) or 0
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.proxy.requests.append(
            Request(self.command, self.path, len(body), received, fault, headers)
        )

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815

    def _forward(self, body):
        if self.upstream is None:
            self.upstream = http.client.HTTPConnection(self.proxy.target, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _SKIPPED}
        headers["Content-Length"] = str(len(body))
        try:
            self.upstream.request(self.command, self.path, body, headers)
            answer = self.upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except (http.client.HTTPException, OSError):
            self.upstream.close()
            self.upstream = None
            raise

    def _answer(self, status, headers, data, cut=False):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _SKIPPED and name.lower() not in ("server", "date"):
                self.send_header(name, value)
        length = {k.lower(): v for k, v in headers}.get("content-length")
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", length if is_head and length else str(len(data)))
        self.end_headers()
        if not is_head:
            self.wfile.write(data[: len(data) // 2] if cut else data)
        return len(data)

    def _do_pass(self, body):
        try:
            answer = self._forward(body)
        except (http.client.HTTPException, OSError):  # the server itself is away
            return self._break_off()
        return self._answer(*answer)

    def _do_drop(self, body):
        self._forward(body)
        self._break_off()

    def _do_503(self, body):
        self._forward(body)
        return self._answer(503, [], (_ERROR % ("SlowDown", "Reduce the rate.")).encode())

    def _do_409(self, body):
        text = _ERROR % ("ConditionalRequestConflict", "A conflicting operation is under way.")
        return self._answer(409, [], text.encode())

    def _do_slow(self, body):
        time.sleep(self.proxy.seconds)
        return self._do_pass(body)

    def _do_reset(self, body):
        self.wfile.flush()
        self._answer(*self._forward(body), cut=True)
        self._break_off()

    def _do_expired(self, body):
        text = _ERROR % ("ExpiredToken", "The provided token has expired.")
        return self._answer(400, [], text.encode())

    def _do_echo(self, _):
        said = f"Your request said {self.headers.get('Authorization')}, and its token was"
        said += f" {self.headers.get('x-amz-security-token')}"
        return self._answer(403, [], (_ERROR % ("SignatureDoesNotMatch", said)).encode())

    def _do_unknown(self, body):
        self._forward(body)
        key = body.decode().partition("<Key>")[2].partition("</Key>")[0]
        error = f"<Error><Key>{key}</Key><Code>UnknownError</Code><Message>?</Message></Error>"
        return self._answer(200, [], f"<DeleteResult>{error}</DeleteResult>".encode())

    def _do_away(self, body):
        self._break_off()

    def _break_off(self):
        self.wfile.flush()
        linger = struct.pack("ii", 1, 0)  # close with a reset, not politely
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
